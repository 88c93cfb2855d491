"""The glossary of cepo, as frozen records. No torch, no I/O.

Symbols, one alphabet in code, docs and reports:

===========  =====================================================================================
P, G, B, T   problems; rollouts of one problem; rows (B = P * G); completion tokens
K, V         wrong references of a row; vocabulary
R            reward of a rollout; A = its group-normalised advantage
P_S          pi(y_t | x, y_<t): the student, the policy itself with its own prompt
P+           pi(y_t | x, r+, y_<t): the same weights, the right answer added to the prompt
P-           pi(y_t | x, r-, y_<t): the same weights, a wrong answer added to the prompt
logp         a log-probability, in nats
evidence     Delta_t = log P+ - log P- (CEPO) or log P+ - log P_S (RLSD), in nats, no gradient
weight       w_t = exp(sign(A) * Delta_t), clipped to [1 - eps_w, 1 + eps_w]
lambda       strength of the credit: A_hat_t = A * ((1 - lambda) + lambda * w_t)
===========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Completion", "DataRow", "Group", "Problem", "Prompt", "ReferenceForm", "Rollout", "Span", "Told"]

DataRow: TypeAlias = Mapping[str, Any]
"""One row of a data set: column -> whatever the data hold there."""

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation, whose content is text or parts."""

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
"""What the model added: a text, or messages."""

ReferenceForm = Literal["answer", "rationale", "feedback"]
"""What a reference is: a final answer, a whole solution, or what was said of an attempt."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a worked solution; `decisive` where a value or a relation is chosen."""

    start: int
    end: int
    decisive: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """One procedural problem: what is asked, its diagram, and its worked, labelled solution.

    `spans` partition `solution`. `image_png` holds the diagram as PNG bytes; the numbers of the problem
    stand in it and not in `question`. `id` is stable: equal ids mean equal numbers.
    """

    id: str
    family: str
    question: str
    answer: str
    solution: str
    spans: tuple[Span, ...]
    image_png: bytes


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion as its group sees it.

    `answer` is what the grader extracted (None: nothing extracted); `correct` is the grader's verdict
    against gold, or None where no gold answer exists; `reward` is the total reward; `feedback` is what reward
    functions said of it in words (None: nothing).
    """

    text: str
    answer: str | None
    correct: bool | None
    reward: float
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one problem, in the trainer's global row order, and what the data say about it.

    `columns` holds the data's other columns that registered prompts read (`cepo.credit.references`), as text.
    """

    gold: str | None
    rollouts: tuple[Rollout, ...]
    solution: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What one prompt tells the teacher of one row, beside the problem.

    Attributes:
        texts: the references; of several, the mean of the probabilities counts (RLCSD's marginal). Empty: there is
            nothing to tell, and the student's own prompt stands in or the row gets no credit, as `source` says.
        source: where the texts came from: `gold`, `sibling`, `group`, `feedback`, the name of a data column. Or why
            there are none: `rlsd` (the student's own prompt stands in), `grpo` and `none` (the row keeps its base
            advantage).
        form: a final answer, a whole solution or feedback; decides the words around it.
        is_own: whether a text says what the row itself says.
    """

    texts: tuple[str, ...]
    source: str
    form: ReferenceForm = "answer"
    is_own: bool = False

    @property
    def student_stands_in(self) -> bool:
        return self.source == "rlsd"

    @property
    def gives_credit(self) -> bool:
        return bool(self.texts) or self.student_stands_in
