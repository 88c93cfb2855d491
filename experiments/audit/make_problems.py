"""Text problems with labelled worked solutions, for `cepo audit MODEL --data FILE`.

    python experiments/audit/make_problems.py

`two_step.jsonl`: two-step arithmetic of our own. `chain_sum.jsonl`: reasoning-gym's chain_sum (needs
`pip install reasoning-gym`; the committed file came from version 0.1.25). The column `markup` is the worked
solution with `[...]` around what decides the answer; `wrong_markups` are solutions with a slip in one step.
Every prompt has three worked examples in front, since a 135M model boxes nothing without.
"""

from __future__ import annotations

import argparse
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul}
Steps = list[tuple[str, int]]
"""The operations after the first number: (operator, operand)."""
SLIPS = (-10, -2, -1, 1, 2, 10)


def markup(first: int, steps: Steps, slip_at: int | None = None, slip: int = 0) -> tuple[str, int]:
    """The marked-up solution and its answer; `slip` is added to the result of step `slip_at`."""
    value, sentences = first, []
    for index, (sign, operand) in enumerate(steps):
        result = APPLY[sign](value, operand) + (slip if index == slip_at else 0)
        sentences.append(f"[{value} {sign} {operand}] = [{result}].")
        value = result
    return f"{' '.join(sentences)} So the answer is \\boxed{{[{value}]}}.", value


def plain(text: str) -> str:
    return text.replace("[", "").replace("]", "")


def wrong_markups(first: int, steps: Steps, rng: Random, count: int = 2) -> list[str]:
    """Solutions that end in different wrong answers, no number of which is negative."""
    right = markup(first, steps)[1]
    found: dict[int, str] = {}
    while len(found) < count:
        text, answer = markup(first, steps, rng.randrange(len(steps)), rng.choice(SLIPS))
        if answer != right and "[-" not in text:
            found[answer] = text
    return list(found.values())


def messages(question: str, shots: list[tuple[str, int, Steps]]) -> list[dict[str, str]]:
    """The problem after worked examples, as a conversation."""
    turns = []
    for shot, first, steps in shots:
        turns += [
            {"role": "user", "content": f"{shot} Put the final answer in \\boxed{{}}."},
            {"role": "assistant", "content": plain(markup(first, steps)[0])},
        ]
    return [*turns, {"role": "user", "content": f"{question} Put the final answer in \\boxed{{}}."}]


def two_step(rng: Random) -> tuple[str, int, Steps]:
    """(a + b) * c and its kin: one-digit numbers, two different operations, nothing negative."""
    while True:
        first, second, third = (rng.randint(2, 9) for _ in range(3))
        signs = rng.sample("+-*", 2)
        steps = [(signs[0], second), (signs[1], third)]
        if "[-" not in markup(first, steps)[0] and markup(first, steps)[1] > 0:
            return f"What is ({first} {signs[0]} {second}) {signs[1]} {third}?", first, steps


def own_problems(seed: int) -> Iterator[tuple[str, int, Steps]]:
    rng = Random(f"two-step/{seed}")
    while True:
        yield two_step(rng)


def gym_problems(seed: int, size: int) -> Iterator[tuple[str, int, Steps]]:
    """chain_sum with three terms of one digit, less the problems with a negative number on the way."""
    import reasoning_gym

    for entry in reasoning_gym.create_dataset(
        "chain_sum", size=size, seed=seed, min_terms=3, max_terms=3, min_digits=1, max_digits=1
    ):
        first, *rest = entry["metadata"]["expression"].split()
        steps = [(sign, int(operand)) for sign, operand in zip(rest[::2], rest[1::2], strict=True)]
        text, answer = markup(int(first), steps)
        if "[-" not in text:
            assert str(answer) == entry["answer"], entry
            yield f"What is {entry['metadata']['expression']}?", int(first), steps


def different_signs(problems: Iterator[tuple[str, int, Steps]]) -> list[tuple[str, int, Steps]]:
    """The first three problems whose operations differ: examples of sums alone would be answered with sums."""
    shots: dict[tuple[str, ...], tuple[str, int, Steps]] = {}
    for question, first, steps in problems:
        shots.setdefault(tuple(sign for sign, _ in steps), (question, first, steps))
        if len(shots) == 3:
            break
    return list(shots.values())


def write(path: Path, problems: Iterator[tuple[str, int, Steps]], count: int) -> None:
    """`count` different problems after three worked examples, which are no problems of the file."""
    shots = different_signs(problems)
    seen = {question for question, _, _ in shots}
    rows: list[dict[str, Any]] = []
    rng = Random(path.name)
    for question, first, steps in problems:
        if question in seen:
            continue
        seen.add(question)
        gold, answer = markup(first, steps)
        rows.append(
            {
                "id": f"{path.stem}/{len(rows)}",
                "prompt": messages(question, shots),
                "answer": str(answer),
                "solution": plain(gold),
                "family": path.stem,
                "markup": gold,
                "wrong_markups": wrong_markups(first, steps, rng),
            }
        )
        if len(rows) == count:
            break
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"wrote {path}: {len(rows)} problems")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "two_step.jsonl", own_problems(options.seed), options.count)
    write(options.out / "chain_sum.jsonl", gym_problems(options.seed, 20 * options.count), options.count)


if __name__ == "__main__":
    main()
