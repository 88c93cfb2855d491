"""Evens out the work of processes: an update's live rows (`batches`), and a step's scoring (`scoring`).

Who gets what is decided on numbers alone (`deal`, `share`), alike on every process; `exchange` sends it.
"""
