"""Is the credit right? Evidence against labelled solutions, against Monte-Carlo values, and against nothing.

`run.py` reads as the audit does: problems -> rollouts -> log-probs under every prompt asked for -> evidence of
every variant -> what each part measures -> one table, one picture, one line in words per finding.
"""
