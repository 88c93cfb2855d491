"""Figures in words: the question, and worked solutions in which every choice stands among filler words.

    begin at A=40. then at B a line stands, and here the angle surely is 180-40=140. now in C a part with 20,
    shows; thus there its size again makes 140-20=120. \\boxed{120}

The filler words are drawn, each from synonyms with equal probability: they have entropy as a real model's wording has,
and say nothing about the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from cepo.figures.problems import NAMES, Figure, Work
from cepo.figures.relations import FULL, KINDS, UNIT

__all__ = ["filler_pieces", "question", "solution", "words"]

_OPENINGS = (("first", "begin", "start", "open"), ("at", "from", "on", "by"))
_BEFORE_NAME = (("then", "next", "now", "so"), ("at", "in", "by", "for"))
_AFTER_KIND = (("stands", "lies", "shows", "appears"),)
_MARKS = (",", ";", ":", ".")
_BEFORE_EQUATION = (
    ("and", "where", "thus", "hence"),
    ("here", "there"),
    ("the", "its", "this", "that"),
    ("angle", "size", "measure", "value"),
    ("surely", "exactly", "again", "indeed"),
    ("is", "equals", "makes", "gives"),
)


def question(figure: Figure) -> str:
    """What is asked, without the instruction to box the answer."""
    return f"Each panel builds on the one before. Find angle {NAMES[len(figure.steps)]} in degrees."


def solution(figure: Figure, work: Work, rng: Random) -> str:
    """A worked solution that goes the way of `work`, right or wrong, and boxes the last angle."""

    def some(*synonyms: tuple[str, ...]) -> str:
        return "".join(f"{rng.choice(words)} " for words in synonyms)

    parts = [f"{some(*_OPENINGS)}{NAMES[0]}={work.start}. "]
    for name, step, equations in zip(NAMES[1:], figure.steps, work.steps, strict=False):
        given = f"with {step.given}, " if step.given else ""
        parts.append(f"{some(*_BEFORE_NAME)}{name} a {step.kind} {given}{some(*_AFTER_KIND)[:-1]}{rng.choice(_MARKS)} ")
        parts.append(some(*_BEFORE_EQUATION))
        parts.append(", ".join(f"{e.left}{e.sign}{e.right}={e.result}" for e in equations) + ". ")
    return f"{''.join(parts)}\\boxed{{{work.values[-1]}}}"


def filler_pieces() -> Iterator[str]:
    """Every filler as it stands in a solution, the space behind it included where there is one."""
    for synonyms in (*_OPENINGS, *_BEFORE_NAME, *_AFTER_KIND, *_BEFORE_EQUATION):
        for word in synonyms:
            yield from (f"{word} ", word)
    yield from (f"{mark} " for mark in _MARKS)


def words() -> Iterator[str]:
    """Texts with every word, mark and number of questions and solutions, for a vocabulary."""
    yield "Each panel builds on the one before. Find angle A in degrees."
    yield from filler_pieces()
    yield from (f"{kind} with " for kind in KINDS)
    yield from (f"a {name} {name}=" for name in NAMES)
    yield from (f"{number}+-*=" for number in (1, 2, *range(0, FULL + UNIT, UNIT)))
    yield "\\boxed{}"
