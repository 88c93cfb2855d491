"""What evidence is asked about: sampled rollouts and worked solutions, as tokens with labels and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cepo.answers import extract_answer, same_answer
from cepo.glossary import Rollout
from cepo.lab.audit.labels import Labels, token_spans, tokens_at
from cepo.lab.audit.problems import AuditProblem, Solution

__all__ = ["Target", "TokenLabels", "sampled_target", "worked_target"]

Kind = Literal["sampled", "worked"]


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """Labels of a completion's tokens: `decisive_T`, and the first decisive token of the wrong part (None: none)."""

    decisive_T: NDArray[np.bool_]
    wrong_from: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One completion of one problem. `labels` is None where it does not parse; `truncated`: no end token."""

    problem: int
    kind: Kind
    ids: tuple[int, ...]
    text: str
    token_chars: tuple[tuple[int, int], ...]
    rollout: Rollout
    labels: TokenLabels | None
    truncated: bool

    @property
    def right(self) -> bool:
        return self.rollout.correct is True

    @property
    def lucky(self) -> bool:
        """Right answer after a wrong step: no one can say what its tokens deserve."""
        return self.right and self.labels is not None and self.labels.wrong_from is not None


def sampled_target(
    index: int, problem: AuditProblem, tokenizer: Any, ids: Sequence[int], ends: Sequence[int]
) -> Target:
    """A rollout, graded and labelled."""
    text, chars = token_spans(tokenizer, ids)
    labels = None if problem.label is None else problem.label(text)
    return _target(index, problem, "sampled", ids, text, chars, labels, truncated=not ids or ids[-1] not in ends)


def worked_target(index: int, problem: AuditProblem, tokenizer: Any, solution: Solution, end: int) -> Target:
    """A worked solution, tokenised, with the end token that a rollout would have."""
    ids = [*tokenizer(solution.text, add_special_tokens=False)["input_ids"], end]
    text, chars = token_spans(tokenizer, ids)
    if text != solution.text:
        raise ValueError(f"the tokenizer turns the solution {solution.text!r} into {text!r}: its labels have no place")
    return _target(index, problem, "worked", ids, text, chars, solution.labels, truncated=False)


def _target(
    index: int,
    problem: AuditProblem,
    kind: Kind,
    ids: Sequence[int],
    text: str,
    chars: Sequence[tuple[int, int]],
    labels: Labels | None,
    truncated: bool,
) -> Target:
    answer = extract_answer(text)
    correct = same_answer(answer, problem.gold)
    return Target(
        problem=index,
        kind=kind,
        ids=tuple(ids),
        text=text,
        token_chars=tuple(chars),
        rollout=Rollout(text=text, answer=answer, correct=correct, reward=float(correct)),
        labels=None if labels is None else _token_labels(chars, labels),
        truncated=truncated,
    )


def _token_labels(chars: Sequence[tuple[int, int]], labels: Labels) -> TokenLabels:
    decisive = tokens_at(chars, labels.spans)
    wrong_from = None
    if labels.wrong_from is not None:
        wrong_from = next((t for t, (_, end) in enumerate(chars) if end > labels.wrong_from and decisive[t]), None)
    return TokenLabels(np.array(decisive, dtype=np.bool_), wrong_from)
