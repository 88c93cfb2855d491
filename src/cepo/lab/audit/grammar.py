"""Grammars that label sampled rollouts: the geometry families' own markup, and plain equations.

A geometry family can write a finite number of texts, up to their numbers; these skeletons are read off its own
solver. A rollout parses when it is one of them with any numbers in place, and then has the labels of that
skeleton. Text problems are parsed as equations in words: see `parse_equations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random

from cepo.answers import boxed_spans
from cepo.geometry.problems import FAMILIES
from cepo.geometry.worked import Draft, Worked
from cepo.glossary import Span
from cepo.lab.audit.labels import Path, path_of

__all__ = ["parse_equations", "parse_geometry", "right_paths"]

SAMPLED_DRAFTS = 200
"""Of each family: every phrasing of a family is among the solutions of so many drafts (tested)."""

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A text with its numbers taken out: pieces (text, decisive), `\\d+` at each number when compiled.

    `variant` and `rule` say which relation it applies to which kind of problem.
    """

    pieces: tuple[tuple[str, bool], ...]
    pattern: re.Pattern[str]
    variant: str
    rule: str


def parse_geometry(family: str, text: str) -> tuple[Span, ...] | None:
    """Spans of a rollout that the family could have written with some numbers; None for any other text."""
    for skeleton in _skeletons(family):
        match = skeleton.pattern.fullmatch(text)
        if match is not None:
            return tuple(
                Span(*match.span(index), decisive=decisive)
                for index, (_, decisive) in enumerate(skeleton.pieces, start=1)
            )
    return None


def right_paths(draft: Draft) -> frozenset[Path]:
    """Every right path of a geometry problem: its own numbers in each phrasing of its right rule."""
    worked = draft.work()
    numbers = _NUMBER.findall(worked.text)
    paths = {path_of(worked.text, worked.spans)}
    for skeleton in _skeletons(draft.family):
        if (skeleton.variant, skeleton.rule) == (draft.variant, draft.rules[0]):
            paths.add(_filled(skeleton, iter(numbers)))
    return frozenset(paths)


def _filled(skeleton: _Skeleton, numbers: Iterator[str]) -> Path:
    """The skeleton's decisive pieces with the numbers in place."""
    pieces = [(_NUMBER.sub(lambda _: next(numbers), text), decisive) for text, decisive in skeleton.pieces]
    return tuple(text for text, decisive in pieces if decisive)


@cache
def _skeletons(family: str) -> tuple[_Skeleton, ...]:
    rng = Random(f"skeletons/{family}")
    found: dict[tuple[object, ...], _Skeleton] = {}
    for draft in islice(iter(lambda: FAMILIES[family](rng), None), SAMPLED_DRAFTS):
        for rule in draft.rules:
            pieces = _pieces(draft.work(rule=rule))
            found.setdefault((pieces, draft.variant, rule), _Skeleton(pieces, _compile(pieces), draft.variant, rule))
    return tuple(found.values())


def _pieces(worked: Worked) -> tuple[tuple[str, bool], ...]:
    return tuple((_NUMBER.sub("0", worked.text[s.start : s.end]), s.decisive) for s in worked.spans)


def _compile(pieces: tuple[tuple[str, bool], ...]) -> re.Pattern[str]:
    return re.compile("".join(f"({re.escape(text).replace('0', _NUMBER.pattern)})" for text, _ in pieces))


_TERM = r"\(*\d+(?:\.\d+)?\)*"
_SIDE = re.compile(rf"-?{_TERM}(?:\s*[-+*/×÷^]\s*{_TERM})*")
_EQUATION = re.compile(rf"{_SIDE.pattern}(?:\s*=\s*{_SIDE.pattern})+")


def parse_equations(text: str) -> tuple[Span, ...] | None:
    """Spans of a solution in words and equations: each side of an equation and each boxed content is decisive.

    The equals sign and all words are filler. None where the text boxes nothing or holds no equation, or where
    a digit stands outside of both: there a value may have been chosen in words.
    """
    boxes = [box for box in boxed_spans(text) if box[0] < box[1]]
    equations = [match.span() for match in _EQUATION.finditer(text) if not _within(match.start(), boxes)]
    if not boxes or not equations:
        return None
    if not all(_within(digits.start(), [*boxes, *equations]) for digits in _NUMBER.finditer(text)):
        return None
    sides = [side.span() for start, end in equations for side in _SIDE.finditer(text, start, end)]
    return _partition(text, sorted([*sides, *boxes]))


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def _partition(text: str, decisive: list[tuple[int, int]]) -> tuple[Span, ...]:
    spans, reached = [], 0
    for start, end in decisive:
        if start < reached:
            continue  # a box within a box
        if start > reached:
            spans.append(Span(reached, start, decisive=False))
        spans.append(Span(start, end, decisive=True))
        reached = end
    if reached < len(text):
        spans.append(Span(reached, len(text), decisive=False))
    return tuple(spans)
