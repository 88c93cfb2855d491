"""What a reference is chosen from, and the settings of the choice."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from cepo.errors import SettingError
from cepo.glossary import Group, ReferenceForm, Rollout, Told

__all__ = [
    "MAX_REFERENCE_CHARS",
    "MINUS_POLICIES",
    "NOTHING",
    "NO_ANSWER",
    "Choice",
    "Fallback",
    "MinusPolicy",
    "ReferencePolicy",
]

MinusPolicy = Literal["worst", "sampled", "common", "own", "marginal", "word_none"]
Fallback = Literal["rlsd", "grpo"]
MINUS_POLICIES: tuple[MinusPolicy, ...] = get_args(MinusPolicy)

MAX_REFERENCE_CHARS = 200
"""A longer extracted 'answer' is a rollout gone astray, not an answer, and would swell the prompts."""

NO_ANSWER = "None"
"""What the released code's extractor returns for a rollout without an answer, and then tells as r-."""

NOTHING = Told((), "none")
"""There is nothing to tell: the row keeps its base advantage."""


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """How references are chosen.

    Attributes:
        minus: `worst`: of the wrong rollouts with the lowest reward one is drawn; `sampled`: any wrong
            rollout, drawn for each row; `common`: the most frequent wrong answer; `own`: a wrong row's own
            answer; where it has none, and for a right row, `sampled`; `marginal`: up to `count` distinct
            wrong answers, the most frequent first; `word_none`: the word None for every row of a group with a wrong
            rollout. That is the released code's r- wherever its extractor finds no answer, and is there so that
            what it costs can be measured.
        form: `answer`, or `rationale`: whole rollouts (r+ the data set's solution, else a right sibling's).
        fallback: what stands in when no r- is admissible: `rlsd` (P- := P_S) or `grpo` (no evidence).
        allow_self: whether a wrong row may be told its own answer. The released code does so.
        count: K of `marginal`.
        feedback_chars: characters of a rollout's feedback that a teacher reads; what is longer is cut.
        seed: of the draws, with the step and the row: equal on any number of processes.

    Raises:
        SettingError: a word that is none of MinusPolicy, ReferenceForm or Fallback, or a count below 1.
    """

    minus: str = "own"
    form: str = "answer"
    fallback: str = "rlsd"
    allow_self: bool = False
    count: int = 4
    feedback_chars: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minus == "none":
            raise SettingError("the r- policy 'none' is now called 'word_none': it tells the word None")
        if self.minus not in MINUS_POLICIES:
            raise SettingError(f"unknown r- policy {self.minus!r}; choose from {', '.join(MINUS_POLICIES)}")
        if self.form not in ("answer", "rationale"):
            raise SettingError(f"unknown reference form {self.form!r}; choose 'answer' or 'rationale'")
        if self.fallback not in ("rlsd", "grpo"):
            raise SettingError(f"unknown fallback {self.fallback!r}; choose 'rlsd' or 'grpo'")
        if self.count < 1:
            raise SettingError(f"the number of wrong references must be at least 1, got {self.count}")
        if self.feedback_chars < 1:
            raise SettingError(f"feedback_max_chars must be at least 1, got {self.feedback_chars}")

    @property
    def reference_form(self) -> ReferenceForm:
        return "rationale" if self.form == "rationale" else "answer"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a source chooses from: a group, the row's place in it, the settings, and draws of its own."""

    group: Group
    row: int
    policy: ReferencePolicy
    rng: Random

    @property
    def own(self) -> Rollout:
        return self.group.rollouts[self.row]
