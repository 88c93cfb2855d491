"""Worked solutions with every character labelled decisive or filler.

A family writes its solution in a small markup: `[...]` encloses what decides the answer (a value that was
read or computed, a relation that was chosen); everything outside is filler.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cepo.geometry.canvas import Canvas
from cepo.glossary import Span

__all__ = ["Draft", "Worked", "parse_markup"]

_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")


@dataclass(frozen=True, slots=True)
class Worked:
    """A solution: its text, the labelled spans that partition the text, and the answer it reaches."""

    text: str
    spans: tuple[Span, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A problem before it is rendered.

    `values` are the numbers in the diagram; `rules` names the relations that a solver may apply, the right
    one first; `solve(values, rule, slip)` returns the marked-up solution and its answer, where `values` may
    be misread and `slip` is added to the last computed number. So wrong solutions are wrong for a reason.
    """

    family: str
    question: str
    values: tuple[int, ...]
    rules: tuple[str, ...]
    variant: str
    canvas: Canvas
    solve: Callable[[tuple[int, ...], str, int], tuple[str, int]]

    @property
    def key(self) -> str:
        """What makes two problems the same one: family, variant and numbers, in no order.

        Neither the layout nor the order is part of it: 47 and 63 ask what 63 and 47 ask.
        """
        return f"{self.family}/{self.variant}/{'-'.join(map(str, sorted(self.values)))}"

    def work(self, values: tuple[int, ...] | None = None, rule: str | None = None, slip: int = 0) -> Worked:
        """Solve the problem; without arguments the right way."""
        markup, answer = self.solve(values or self.values, rule or self.rules[0], slip)
        text, spans = parse_markup(f"{markup} \\boxed{{[{answer}]}}")
        return Worked(text, spans, answer)


def parse_markup(markup: str) -> tuple[str, tuple[Span, ...]]:
    """Strip the brackets and return the text with the spans that partition it.

    Raises:
        ValueError: brackets that do not pair.
    """
    text, spans, consumed = "", [], 0
    for match in _PIECE.finditer(markup):
        piece = match.group(1) if match.group(1) is not None else match.group(2)
        if match.start() != consumed:
            break
        consumed = match.end()
        if piece:
            spans.append(Span(len(text), len(text) + len(piece), decisive=match.group(1) is not None))
            text += piece
    if consumed != len(markup):
        raise ValueError(f"brackets do not pair in {markup!r} at character {consumed}")
    return text, tuple(spans)
