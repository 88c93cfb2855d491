"""Benchmarks through lmms-eval: the paper's five from a checkpoint, and our geometry the same way. No torch.

lmms-eval lives in an environment of its own (its 52 requirements do not go with ours). This package writes its
command lines, runs one process per benchmark, reads its result files and makes the table.
"""

from cepo.lab.suite.run import Outcome, Settings, run_suite
from cepo.lab.suite.tasks import SUITES, Benchmark, Suite

__all__ = ["SUITES", "Benchmark", "Outcome", "Settings", "Suite", "run_suite"]
