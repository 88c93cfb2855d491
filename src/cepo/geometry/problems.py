"""Problems by seed: which families there are, which split a problem belongs to, and how solvers go wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Literal

from cepo.errors import DataError
from cepo.geometry import angles, lengths
from cepo.geometry.worked import Draft, Worked
from cepo.glossary import Problem

__all__ = ["FAMILIES", "SPLITS", "Split", "drafts", "generate", "render", "split_of", "work_wrongly"]

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")

FAMILIES: dict[str, Callable[[Random], Draft]] = {
    family.__name__: family
    for family in (
        angles.triangle_sum,
        angles.isosceles,
        angles.exterior_angle,
        angles.parallel_lines,
        angles.circle_angles,
        lengths.parallelogram,
        lengths.pythagoras,
        lengths.rectangle,
        lengths.triangle_area,
        lengths.similar_triangles,
    )
}
"""Family name -> sampler. A new family is one function and one line here."""


def split_of(key: str) -> Split:
    """The split that a problem's numbers belong to, for ever: a hash of the key, 80/10/10.

    No seed and no order enters, so train, validation and held-out cannot share a problem.
    """
    bucket = hashlib.sha256(key.encode()).digest()[0] % 10
    return "held_out" if bucket == 0 else "validation" if bucket == 1 else "train"


def drafts(split: Split, seed: int, families: Sequence[str] | None = None) -> Iterator[Draft]:
    """Endless drafts of one split, families in turn; equal arguments give equal drafts.

    Raises:
        DataError: an unknown split or family.
    """
    names = list(FAMILIES) if families is None else list(families)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        raise DataError(f"unknown geometry families {unknown}; choose from {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    rng = Random(f"{split}/{seed}")
    while True:
        for name in names:
            draft = FAMILIES[name](rng)
            while split_of(draft.key) != split:
                draft = FAMILIES[name](rng)
            yield draft


def render(draft: Draft, layout: int) -> Problem:
    """Draw a draft and solve it; `layout` tells apart several pictures of the same numbers."""
    worked = draft.work()
    return Problem(
        id=f"{draft.key}#{layout}",
        family=draft.family,
        question=draft.question,
        answer=str(worked.answer),
        solution=worked.text,
        spans=worked.spans,
        image_png=draft.canvas.png(),
    )


def generate(split: Split, count: int, seed: int = 0, families: Sequence[str] | None = None) -> list[Problem]:
    """`count` problems of one split, families in turn, deterministic by seed."""
    if count < 1:
        raise DataError(f"count must be at least 1, got {count}")
    stream = drafts(split, seed, families)
    return [render(next(stream), layout=index) for index in range(count)]


def work_wrongly(draft: Draft, rng: Random) -> Worked:
    """A solution that ends in a wrong answer for a reason: a misread number, a wrong relation, or a slip."""
    right = draft.work().answer
    while True:
        kind = rng.choice(["misread", "rule", "slip", "slip"])
        if kind == "misread":
            values = list(draft.values)
            index = rng.randrange(len(values))
            values[index] = _misread(values[index], rng)
            worked = draft.work(values=tuple(values))
        elif kind == "rule":
            worked = draft.work(rule=rng.choice(draft.rules[1:]))
        else:
            worked = draft.work(slip=rng.choice([-10, -2, -1, 1, 2, 10, rng.randint(-30, 30)]))
        if worked.answer != right and 0 < worked.answer < 1000:
            return worked


def _misread(value: int, rng: Random) -> int:
    """Change one digit; never to 0 or 1, so that a misread coefficient still leaves an equation to solve."""
    digits = list(str(value))
    index = rng.randrange(len(digits))
    digits[index] = rng.choice([d for d in "23456789" if d != digits[index]])
    return int("".join(digits))
