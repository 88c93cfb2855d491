"""How long verdicts take, and what two graders say of the same answers.

PYTHONPATH=src python benchmarks/grader.py                # times of this checkout
PYTHONPATH=../other/src python benchmarks/grader.py       # times of another one, on the same answers
PYTHONPATH=src python benchmarks/grader.py --verdicts     # both graders, by where the answers come from
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
Pair = tuple[str, str, bool]
"""Gold answer, answer, whether it is right."""


def load(path: str) -> ModuleType:
    """A module of the tests, by its file: `tests` may be another checkout's package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tables(name: str) -> list[Pair]:
    rows = getattr(load("tests/answers/cases.py"), name)()
    return [(row.gold, row.answer, row.same) for row in rows if not row.is_completion]


def generated(seeds: int) -> list[Pair]:
    pairs: list[Pair] = []
    for make in load("tests/answers/generate.py").MAKERS.values():
        for seed in range(seeds):
            drawn = make(Random(seed))
            pairs += [(drawn.gold, one, True) for one in drawn.right]
            pairs += [(drawn.gold, one, False) for one in drawn.wrong]
    return pairs


def geometry(count: int) -> list[Pair]:
    """Gold answers of this checkout's geometry problems, and of the fixtures: themselves, and with a 9 before them."""
    code = f"import cepo, json; print(json.dumps([one.answer for one in cepo.generate_problems('train', {count})]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    golds = list(dict.fromkeys(json.loads(made.stdout)))
    rows = (ROOT / "tests/fixtures/geometry3k_mini/rows.jsonl").read_text().splitlines()
    golds += [json.loads(row)["answer"] for row in rows]
    own = [(gold, gold, True) for gold in golds]
    return own + [(gold, f"9{gold}", False) for gold in golds]


HARD = [
    r"\log_2 3",
    r"\ln 17",
    r"25!",
    r"\binom{40}{20}",
    r"2^{100}",
    r"\sqrt{1+\sqrt{2}}",
    r"e^{\pi}",
    r"\log_{10} 7 \cdot 10^6",
]
"""Ordinary gold answers over which sympy thinks for long."""


def hard() -> list[Pair]:
    slips = [
        "1",
        "0.5",
        "100",
        r"\log_3 2",
        r"\ln 18",
        "24!",
        r"\binom{40}{19}",
        "2^{101}",
        r"\sqrt{2+\sqrt{1}}",
        r"e^{3}",
        "x",
        "10^{10^{10}}",
        "99999999!",
    ]
    return [(gold, slip, False) for gold in HARD for slip in slips]


def times(pairs: list[Pair]) -> str:
    from cepo.answers import same_answer

    same_answer(r"\sqrt{8}", r"2\sqrt{2}")  # a worker that has to start is no part of a verdict
    seconds, wrong, refused = [], 0, 0
    for gold, answer, same in pairs:
        start = time.perf_counter()
        said = same_answer(answer, gold)
        seconds.append(time.perf_counter() - start)
        wrong += said and not same
        refused += same and not said
    seconds.sort()
    tail = seconds[len(seconds) * 99 // 100]
    slow = sum(one > 1.0 for one in seconds)
    return (
        f"{len(pairs):6}  median {statistics.median(seconds) * 1e3:7.2f} ms  p99 {tail * 1e3:8.2f} ms  "
        f"max {seconds[-1] * 1e3:8.1f} ms  over 1 s: {slow:4}  wrong accepted {wrong:4}  right refused {refused:4}"
    )


def verdicts(pairs: list[Pair], grader: Any) -> str:
    from cepo.answers import judge_many

    answers = [answer if grader == "cepo" else rf"\boxed{{{answer}}}" for _, answer, _ in pairs]
    golds = [gold if grader == "cepo" else f"${gold}$" for gold, _, _ in pairs]
    said = judge_many(answers, golds, grader=grader, budget_s=3600.0)
    wrong = sum(one.same is True and not same for one, (_, _, same) in zip(said, pairs, strict=True))
    refused = sum(one.same is not True and same for one, (_, _, same) in zip(said, pairs, strict=True))
    right = sum(same for _, _, same in pairs)
    return f"{grader:11}  wrong accepted {wrong:4} of {len(pairs) - right:5}  right refused {refused:4} of {right:5}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", action="store_true", help="compare both graders instead of timing one")
    parser.add_argument("--seeds", type=int, default=10, help="gold answers of each generated kind")
    options = parser.parse_args()
    sources = {
        "geometry": geometry(400),
        "handed": tables("handed"),
        "tables": tables("kinds"),
        "generated": generated(options.seeds),
        "hard": hard(),
    }
    for name, pairs in sources.items():
        if options.verdicts:
            for grader in ("cepo", "math_verify"):
                print(f"{name:9}  {verdicts(pairs, grader)}", flush=True)
        else:
            print(f"{name:9}  {times(pairs)}", flush=True)


if __name__ == "__main__":
    main()
