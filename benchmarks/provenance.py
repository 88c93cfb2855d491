"""What a benchmark's figures were made by: the revision, whether it was clean, the versions and the machine."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "provenance", "write_results"]

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
PACKAGES = ("torch", "transformers", "trl", "accelerate", "tokenizers")
MADE_BY = ("src", "benchmarks", ":!benchmarks/results")
"""What a figure depends on: a change there that is not committed makes it nobody's."""


def provenance(threads: int) -> dict[str, Any]:
    """`revision`, `clean` (nothing uncommitted in what the figures depend on), versions, CPU and threads."""
    changed = _git("status", "--porcelain", "--", *MADE_BY)
    return {
        "revision": _git("rev-parse", "HEAD"),
        "clean": not changed,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "cpu": _cpu(),
        "threads": threads,
    }


def write_results(name: str, found: dict[str, Any]) -> Path:
    """Write `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
