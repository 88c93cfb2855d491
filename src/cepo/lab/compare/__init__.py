"""`cepo compare`: methods x seeds under equal budgets, evaluated alike, in one folder of tables and figures.

experiment.py   what an experiment's YAML says
plan.py         the runs it means, and whether they may be compared
runner.py       processes side by side, each in a folder that one process at a time may write
evaluation.py   checkpoints -> generations, cached
derivation.py   whether a completion states its answer before deriving it
results.py      what the folders hold, read once
tables.py       Table 1, paired differences, cost, diagnostics
figures.py      accuracy, sweeps, evidence and lengths, with their data
words.py        what the intervals support, in a sentence
comparison.py   all of it in order
"""
