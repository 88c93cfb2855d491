"""What each piece of a solution is, of any text: right or wrong, complete or not.

The numbers before the box are the values of the steps in order, except for operands: numbers with + - * / beside them.

decisive      the value of a step that is right, all steps before it being right
first_wrong   the first value that is wrong; the box, where it is the first to be wrong
consequence   every value after the first wrong one, right by itself or not
answer        the box's content, where it is not `first_wrong`
filler        all else
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cepo.answers import boxed_spans
from cepo.chain.problems import Chain

__all__ = ["Label", "LabelSpan", "label_text", "label_tokens"]

Label = Literal["decisive", "first_wrong", "consequence", "filler", "answer"]

_NUMBER = re.compile(r"\d+")
_OPERATORS = frozenset("+-*/")
_RANK: dict[Label, int] = {"filler": 0, "answer": 1, "consequence": 2, "decisive": 3, "first_wrong": 4}


@dataclass(frozen=True, slots=True)
class LabelSpan:
    """Characters [start, end) of a text; `step`: which value it is, from 0; `is_box`: the box's content."""

    start: int
    end: int
    label: Label
    step: int | None = None
    is_box: bool = False


def label_text(chain: Chain, text: str) -> tuple[LabelSpan, ...]:
    """Spans that partition `text`, in order; an empty text has none."""
    boxes = boxed_spans(text)
    box = boxes[-1] if boxes else None
    marked = _values(chain, text, len(text) if box is None else box[0])
    if box is not None and text[slice(*box)].strip():
        intact = all(span.label == "decisive" for span in marked)
        is_right = text[slice(*box)].strip() == str(chain.answer)
        label: Label = "first_wrong" if intact and not is_right else "answer"
        marked.append(LabelSpan(*box, label, is_box=True))
    return tuple(_with_fillers(marked, len(text)))


def _values(chain: Chain, text: str, end: int) -> list[LabelSpan]:
    """The values before character `end`, labelled."""
    found: list[LabelSpan] = []
    rights, intact = chain.values, True
    for match in _NUMBER.finditer(text, 0, end):
        if _is_operand(text, match.start(), match.end()):
            continue
        step = len(found)
        is_right = step < len(rights) and match.group() == str(rights[step])
        label: Label = "consequence" if not intact else "decisive" if is_right else "first_wrong"
        intact = intact and is_right
        found.append(LabelSpan(match.start(), match.end(), label, step))
    return found


def _is_operand(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rstrip()[-1:], text[end:].lstrip()[:1]
    return before in _OPERATORS or after in _OPERATORS


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


def label_tokens(chain: Chain, text: str, offsets: Sequence[tuple[int, int]]) -> list[Label]:
    """One label for each token, given the characters [start, end) that it stands for.

    A token over several spans has the label that matters most; one without characters (an end token) is filler.
    """
    spans = label_text(chain, text)
    labels: list[Label] = []
    for start, end in offsets:
        found: Label = "filler"
        for span in spans:
            if span.start < end and span.end > start and _RANK[span.label] > _RANK[found]:
                found = span.label
        labels.append(found)
    return labels
