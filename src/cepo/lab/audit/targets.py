"""What evidence is asked about: sampled rollouts and worked solutions, as tokens with labels and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from cepo.answers import BOXED, Grading
from cepo.credit.prompts import written_ids
from cepo.errors import DataError, ModelError
from cepo.glossary import Rollout
from cepo.lab.audit.labels import Labels, agreement, token_spans, tokens_at
from cepo.lab.audit.metrics import Bools
from cepo.lab.audit.problems import AuditProblem, Given, Solution
from cepo.lab.audit.steps import StepLabels, step_labels

__all__ = ["Target", "TokenLabels", "given_target", "sampled_target", "worked_target"]


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """Labels of a completion's tokens: `decisive_T`, and the first decisive token of the wrong part (None: none)."""

    decisive_T: Bools
    wrong_from: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One completion of one problem. `labels`, `steps`: None where it does not parse; `truncated`: no end token."""

    problem: int
    ids: tuple[int, ...]
    text: str
    token_chars: tuple[tuple[int, int], ...]
    rollout: Rollout
    labels: TokenLabels | None
    truncated: bool
    steps: StepLabels | None = None

    @property
    def right(self) -> bool:
        return self.rollout.correct is True

    @property
    def lucky(self) -> bool:
        """Right answer after a wrong step: no one can say what its tokens deserve."""
        return self.right and self.labels is not None and self.labels.wrong_from is not None


def sampled_target(
    index: int,
    problem: AuditProblem,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    ends: Sequence[int],
    grading: Grading = BOXED,
) -> Target:
    """A rollout, graded and labelled."""
    text, chars = token_spans(tokenizer, ids)
    labels = None if problem.label is None else problem.label(text)
    return Target(
        problem=index,
        ids=tuple(ids),
        text=text,
        token_chars=tuple(chars),
        rollout=_graded(text, problem, grading),
        labels=labels and _token_labels(chars, labels),
        truncated=not ids or ids[-1] not in ends,
        steps=labels and step_labels(text, chars, labels),
    )


def given_target(
    index: int,
    problem: AuditProblem,
    tokenizer: PreTrainedTokenizerBase,
    given: Given,
    ends: Sequence[int],
    grading: Grading = BOXED,
) -> Target:
    """A completion that exists already, tokenised, with the end token behind it.

    Raises:
        DataError: a tokenizer that does not keep the text; a line's white space at its ends may go.
    """
    try:
        ids = written_ids(tokenizer, given.text)
    except DataError as error:
        raise DataError(f"{given.where}: {error}") from None
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if text.strip() != given.text.strip():
        kept = agreement(text, given.text)
        raise DataError(
            f"{given.where}: the model's tokenizer does not keep {given.text[kept:][:20]!r} of this completion, "
            "so that it is no text of this model's; take it out"
        )
    return sampled_target(index, problem, tokenizer, [*ids, ends[0]], ends, grading)


def worked_target(
    index: int, problem: AuditProblem, tokenizer: PreTrainedTokenizerBase, solution: Solution, end: int
) -> Target:
    """A worked solution, tokenised, with the end token that a rollout would have.

    Raises:
        ModelError: a tokenizer that does not keep the text.
    """
    ids = [*tokenizer(solution.text, add_special_tokens=False)["input_ids"], end]
    target = sampled_target(index, problem, tokenizer, ids, [end])
    if target.text != solution.text:
        lost = f"the tokenizer turns the solution {solution.text!r} into {target.text!r}"
        raise ModelError(f"{lost}: its labels have no place")
    chars, labels = target.token_chars, solution.labels
    return replace(target, labels=_token_labels(chars, labels), steps=step_labels(target.text, chars, labels))


def _graded(text: str, problem: AuditProblem, grading: Grading) -> Rollout:
    (verdict,) = grading.verdicts([text], [problem.gold])
    correct = None if verdict.is_open else verdict.same
    return Rollout(text=text, answer=grading.extract(text), correct=correct, reward=float(correct is True))


def _token_labels(chars: Sequence[tuple[int, int]], labels: Labels) -> TokenLabels:
    decisive = tokens_at(chars, labels.spans)
    wrong_from = None
    if labels.wrong_from is not None:
        wrong_from = next((t for t, (_, end) in enumerate(chars) if end > labels.wrong_from and decisive[t]), None)
    return TokenLabels(np.array(decisive, dtype=np.bool_), wrong_from)
