"""`cepo compare`: methods x seeds under equal budgets, evaluated alike, in one folder of tables and figures.

arms.py         arms, their controls, sweeps and grids, as an experiment's YAML says them
experiment.py   the YAML itself
plan.py         the runs it means, and whether they may be compared
evaluation.py   checkpoints -> generations, cached
tuning.py       each arm's learning rate, chosen on seeds that are not reported
derivation.py   whether a completion states its answer before deriving it
results.py      what the folders hold, read once
measures.py     final accuracy, area under the curve, the curve itself
contrasts.py    paired differences, and what their intervals support in a sentence
races.py        steps to an accuracy, and their ratios
calibration.py  what oracle and controls say: power, and whose gain it is
tables.py       Table 1, paired differences, cost, diagnostics
learning.py     area and steps, each method beside its controls
curves.py       what the figures draw
figures.py      accuracy, differences, sweeps, evidence and lengths, with their data
report.py       all tables and figures of a folder
comparison.py   all of it in order
"""
