"""Instruments: audit, comparisons, benchmark suites, the warm start. Only the command line imports the lab."""
