"""What each piece of a solution is, of any text: right or wrong, complete or not.

A problem of dependent steps names the places of a text that its steps stand at (`Stepped.marks`); from them follows:

decisive      a place that is right, all places before it being right
first_wrong   the first place that is wrong; the box, where it is the first to be wrong
consequence   every place after the first wrong one, right by itself or not
answer        the box's content, where it is not `first_wrong`
filler        all else, and what only restates rightly what stood there before
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cepo.answers import boxed_spans
from cepo.chain.marks import Mark

__all__ = ["Label", "LabelSpan", "Stepped", "label_text", "label_tokens"]

Label = Literal["decisive", "first_wrong", "consequence", "filler", "answer"]

_RANK: dict[Label, int] = {"filler": 0, "answer": 1, "consequence": 2, "decisive": 3, "first_wrong": 4}


class Stepped(Protocol):
    """A problem of dependent steps: `cepo.chain.Chain`, `cepo.figures.Figure`."""

    @property
    def answer(self) -> int: ...

    @property
    def length(self) -> int:
        """How many steps there are."""
        ...

    def marks(self, text: str, end: int) -> Sequence[Mark]:
        """The places before character `end` of a solution at which steps stand, in order."""
        ...


@dataclass(frozen=True, slots=True)
class LabelSpan:
    """Characters [start, end) of a text.

    Attributes:
        step: the step, from 0, that is settled with this place; -1: none yet. None: no place of a step.
        is_box: the box's content.
    """

    start: int
    end: int
    label: Label
    step: int | None = None
    is_box: bool = False


def label_text(problem: Stepped, text: str) -> tuple[LabelSpan, ...]:
    """Spans that partition `text`, in order; an empty text has none."""
    boxes = boxed_spans(text)
    box = boxes[-1] if boxes else None
    marks = problem.marks(text, len(text) if box is None else box[0])
    marked, intact = _labelled(marks)
    if box is not None and text[slice(*box)].strip():
        is_right = text[slice(*box)].strip() == str(problem.answer)
        label: Label = "first_wrong" if intact and not is_right else "answer"
        marked.append(LabelSpan(*box, label, is_box=True))
    return tuple(_with_fillers(marked, len(text)))


def _labelled(marks: Sequence[Mark]) -> tuple[list[LabelSpan], bool]:
    """The places with their labels, and whether all are right."""
    found: list[LabelSpan] = []
    intact = True
    for mark in marks:
        if not intact:
            label: Label = "consequence"
        elif mark.is_right:
            label = "filler" if mark.restates else "decisive"
        else:
            label = "first_wrong"
        intact = intact and mark.is_right
        found.append(LabelSpan(mark.start, mark.end, label, None if label == "filler" else mark.step))
    return found, intact


def _with_fillers(marked: Sequence[LabelSpan], length: int) -> list[LabelSpan]:
    spans, at = [], 0
    for span in marked:
        if span.start > at:
            spans.append(LabelSpan(at, span.start, "filler"))
        spans.append(span)
        at = span.end
    if at < length:
        spans.append(LabelSpan(at, length, "filler"))
    return spans


def label_tokens(problem: Stepped, text: str, offsets: Sequence[tuple[int, int]]) -> list[Label]:
    """One label for each token, given the characters [start, end) that it stands for.

    A token over several spans has the label that matters most; one without characters (an end token) is filler.
    """
    spans = label_text(problem, text)
    labels: list[Label] = []
    for start, end in offsets:
        found: Label = "filler"
        for span in spans:
            if span.start < end and span.end > start and _RANK[span.label] > _RANK[found]:
                found = span.label
        labels.append(found)
    return labels
