"""`cepo compare`: methods x seeds under equal budgets, evaluated alike, in one folder of tables and figures.

experiment.py   what an experiment's YAML says
plan.py         the runs it means, and whether they may be compared
evaluation.py   checkpoints -> generations, cached
derivation.py   whether a completion states its answer before deriving it
results.py      what the folders hold, read once
contrasts.py    paired differences, and what their intervals support in a sentence
tables.py       Table 1, paired differences, cost, diagnostics
curves.py       what the figures draw
figures.py      accuracy, sweeps, evidence and lengths, with their data
report.py       all tables and figures of a folder
comparison.py   all of it in order
"""
