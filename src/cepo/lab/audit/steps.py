"""A solution as steps: which of them each token belongs to, and which is the first that went wrong.

All that this needs of a bed is `AuditProblem.label`: a text of the model's own -> `Labels`, whose decisive spans, in
order, are the steps. A decisive span in the last box is the answer, which restates the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cepo.answers import boxed_spans
from cepo.lab.audit.labels import Labels
from cepo.lab.audit.metrics import Ints

__all__ = ["FILLER", "StepLabels", "step_labels"]

FILLER = -1


@dataclass(frozen=True, slots=True)
class StepLabels:
    """Steps of a completion.

    Attributes:
        step_T: the step that each token belongs to, counted from 0, the answer included; FILLER for all else.
        steps: how many there are, the answer not counted.
        wrong: the first wrong step; None: none is wrong.
        answer: the step that stands in the box; None: nothing is boxed.
    """

    step_T: Ints
    steps: int
    wrong: int | None
    answer: int | None

    @property
    def last(self) -> int | None:
        """The last step before the answer, whose result the answer restates; None where there is no such step."""
        before = self.steps if self.answer is None else self.answer
        return before - 1 if before else None


def step_labels(text: str, token_chars: Sequence[tuple[int, int]], labels: Labels) -> StepLabels:
    """Steps of a labelled text; a token over two of them belongs to the wrong one, else to the first."""
    decisive = [span for span in labels.spans if span.decisive]
    places = [(span.start, span.end) for span in decisive]
    boxes = boxed_spans(text)
    boxed = [index for index, place in enumerate(places) if boxes and _overlap(place, boxes[-1])]
    answer = boxed[-1] if boxed else None
    wrong = None
    if labels.wrong_from is not None:
        wrong = next((index for index, (_, end) in enumerate(places) if end > labels.wrong_from), None)
    step_T = np.full(len(token_chars), FILLER, dtype=np.int64)
    for token, chars in enumerate(token_chars):
        over = [index for index, place in enumerate(places) if _overlap(place, chars)]
        if over:
            step_T[token] = wrong if wrong in over else over[0]
    return StepLabels(step_T, len(places) - (answer is not None), wrong, answer)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
