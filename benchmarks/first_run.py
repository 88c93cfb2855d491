"""A newcomer's first run, timed: `python benchmarks/first_run.py FOLDER`. docs/first_run.md tells it.

Writes 400 problems with worked solutions into FOLDER/problems, and 100 held out, which `tiny-text` can speak; then
types what a newcomer types. Times are of the machine as it was; CPU seconds say what a step takes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from provenance import provenance, write_results

STEPS, SPLITS = 6, {"train": 400, "test": 100}
TYPED = (
    "init --data problems --model tiny-text --gpu none",
    "doctor --config cepo.yaml",
    "train --config cepo.yaml",
    "report runs/cepo",
    "show runs/cepo --row 0",
)


def problem(rng: Random) -> dict[str, str]:
    """One row, with columns named as they might be in anybody's data."""
    value = rng.randrange(10)
    question, solution = f"Count modulo ten from {value}", ""
    for _ in range(STEPS):
        sign, operand = rng.choice((1, -1)), rng.randrange(10)
        value = (value + sign * operand) % 10
        question += f", then {'add' if sign > 0 else 'subtract'} {operand}"
        said = rng.choice(("gives", "makes", "yields", "leaves"))
        solution += f"{rng.choice(('then', 'next', 'now', 'so'))} {said} {value}{rng.choice(',;')} "
    return {
        "question": f"{question}.",
        "worked_solution": f"{solution}\\boxed{{{value}}}",
        "final_answer": str(value),
    }


def write_problems(folder: Path) -> None:
    rng = Random(5)
    folder.mkdir(parents=True)
    for split, count in SPLITS.items():
        rows = [json.dumps(problem(rng)) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")


def typed(words: str, folder: Path) -> dict[str, Any]:
    """Wall and CPU seconds of a command of cepo's. Raises CalledProcessError where it fails."""
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "cepo.cli", *words.split()], cwd=folder, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"typed": f"cepo {words}", "seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new one")
    parser.add_argument("--keep", action="store_true", help="write the times to results/first_run.json")
    options = parser.parse_args()
    write_problems(options.folder / "problems")
    times = [typed(words, options.folder) for words in TYPED]
    summary = json.loads((options.folder / "runs" / "cepo" / "summary.json").read_text())
    accuracy = {when: summary[when]["overall"] for when in ("before", "after")}
    print("\n".join(f"{one['seconds']:6.1f} s  {one['cpu_seconds']:6.1f} CPU s  {one['typed']}" for one in times))
    if options.keep:
        write_results("first_run", {**provenance(1), "commands": times, "accuracy": accuracy})


if __name__ == "__main__":
    main()
