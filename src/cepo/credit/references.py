"""Which answers a row's teachers are told: r+ and r-, chosen within one group. No model, no tensors.

A rollout is wrong when the grader says so (`Rollout.correct is False`), never because its advantage is
negative. An admissible r- also parses, an answer was extracted from it, and does not say what r+ says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from cepo.answers import same_answer
from cepo.glossary import Group, References, Rollout

__all__ = [
    "MINUS_POLICIES",
    "Fallback",
    "MinusPolicy",
    "ReferenceForm",
    "ReferencePolicy",
    "choose_references",
    "irrelevant_references",
    "right_peer",
]

MinusPolicy = Literal["worst", "sampled", "common", "own", "marginal", "none"]
ReferenceForm = Literal["answer", "rationale"]
Fallback = Literal["rlsd", "grpo"]

MAX_ANSWER_CHARS = 200
"""A longer extracted 'answer' is a rollout gone astray, not an answer, and would swell the prompts."""


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """How references are chosen.

    Attributes:
        minus: `worst`: of the wrong rollouts with the lowest reward one is drawn; `sampled`: any wrong
            rollout, drawn for each row; `common`: the most frequent wrong answer; `own`: a wrong row's own
            answer; where it has none, and for a right row, `sampled`; `marginal`: up to `count` distinct
            wrong answers, the most frequent first; `none`: the word None for every row of a group with a wrong
            rollout. That is the released code's r- wherever its extractor finds no answer, and is there so that
            what it costs can be measured.
        form: `answer`, or `rationale`: whole rollouts (r+ the data set's solution, else a right sibling's).
        fallback: what stands in when no r- is admissible: `rlsd` (P- := P_S) or `grpo` (no evidence).
        allow_self: whether a wrong row may be told its own answer. The released code does so.
        count: K of `marginal`.
        seed: of the draws, with the step and the row: equal on any number of processes.
    """

    minus: MinusPolicy = "own"
    form: ReferenceForm = "answer"
    fallback: Fallback = "rlsd"
    allow_self: bool = False
    count: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minus not in MINUS_POLICIES:
            raise ValueError(f"unknown r- policy {self.minus!r}; choose from {', '.join(MINUS_POLICIES)}")
        if self.form not in ("answer", "rationale"):
            raise ValueError(f"unknown reference form {self.form!r}; choose 'answer' or 'rationale'")
        if self.fallback not in ("rlsd", "grpo"):
            raise ValueError(f"unknown fallback {self.fallback!r}; choose 'rlsd' or 'grpo'")
        if self.count < 1:
            raise ValueError(f"the number of wrong references must be at least 1, got {self.count}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A wrong rollout that may serve as r-."""

    row: int
    rollout: Rollout
    text: str


def choose_references(
    group: Group, policy: ReferencePolicy, *, step: int, index: int, contrastive: bool = True
) -> tuple[References, ...]:
    """References of every row of a group, in row order.

    Args:
        group: the rollouts with the grader's verdicts.
        policy: how to choose.
        step: optimiser step, from 1; enters the draws.
        index: the group's place in the global batch; enters the draws.
        contrastive: False for methods without r- (RLSD): only r+ is chosen.

    Degenerate cases: no r+ gives `plus_source='none'` and no r- (the row keeps its base advantage); no
    admissible r- gives `minus_source` = the policy's fallback.
    """
    wrong = _wrong_candidates(group, policy)
    chosen = []
    for row in range(len(group.rollouts)):
        references = _choose_plus(group, row, policy)
        if references.plus is not None and contrastive:
            rng = Random(f"{policy.seed}/{step}/{index}/{row}")
            references = _choose_minus(references, group, row, wrong, policy, rng)
        chosen.append(references)
    return tuple(chosen)


def right_peer(group: Group, row: int) -> str | None:
    """The text of the group's first right rollout other than the row itself; None: there is none (SDPO)."""
    peers = (rollout.text.strip() for i, rollout in enumerate(group.rollouts) if i != row and rollout.correct)
    return next((text for text in peers if text), None)


NO_ANSWER = "None"
"""What the released code's extractor returns for a rollout without an answer, and then tells as r-."""

NEUTRAL = ("unknown", "unclear")
"""A null contrast's references where the batch offers no two other answers."""


def irrelevant_references(group: Group, others: Sequence[str], rng: Random) -> tuple[str, str]:
    """Two different references that have nothing to do with the group: a null contrast.

    They are drawn from `others` (gold answers of other problems) such that neither is the group's gold answer
    or any answer that it gave. Where there are no two, two neutral words. Their evidence is the noise floor.
    """
    own = [group.gold, *(rollout.answer for rollout in group.rollouts)]
    told = {answer for answer in own if answer is not None}
    free: list[str] = []
    for other in rng.sample(sorted(set(others)), len(set(others))):
        if not any(_same(answer, other) for answer in (*told, *free)):
            free.append(other)
        if len(free) == 2:
            return free[0], free[1]
    return NEUTRAL


def _choose_plus(group: Group, row: int, policy: ReferencePolicy) -> References:
    own = group.gold if policy.form == "answer" else group.solution
    if own is not None:
        return References(plus=own, minus=(), plus_source="gold", minus_source="unused")
    for sibling, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, policy.form)
        if sibling != row and rollout.correct and text is not None:
            return References(plus=text, minus=(), plus_source="sibling", minus_source="unused")
    return References(plus=None, minus=(), plus_source="none", minus_source="unused")


def _choose_minus(
    references: References,
    group: Group,
    row: int,
    wrong: list[_Candidate],
    policy: ReferencePolicy,
    rng: Random,
) -> References:
    own = group.rollouts[row]
    if policy.minus == "none" and any(rollout.correct is False for rollout in group.rollouts):
        return replace(references, minus=(NO_ANSWER,), minus_source="group")
    if policy.form == "answer":  # a named reward may find a rollout wrong whose answer is right
        wrong = [candidate for candidate in wrong if not _same(candidate.text, references.plus or "")]
    admissible = [candidate for candidate in wrong if policy.minus == "own" and candidate.row == row]
    if not admissible:
        admissible = [candidate for candidate in wrong if policy.allow_self or not _is_own(candidate, row, own)]
    if not admissible:
        return replace(references, minus_source=policy.fallback)
    picked = _PICK[policy.minus](admissible, policy, rng)
    return replace(
        references,
        minus=tuple(candidate.text for candidate in picked),
        minus_source="group",
        minus_is_own=any(_is_own(candidate, row, own) for candidate in picked),
    )


def _wrong_candidates(group: Group, policy: ReferencePolicy) -> list[_Candidate]:
    candidates = []
    for row, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, policy.form)
        if rollout.correct is False and text is not None:
            candidates.append(_Candidate(row, rollout, text))
    return candidates


def _reference_text(rollout: Rollout, form: ReferenceForm) -> str | None:
    if rollout.answer is None or len(rollout.answer) > MAX_ANSWER_CHARS:
        return None
    return rollout.answer if form == "answer" else rollout.text.strip() or None


def _is_own(candidate: _Candidate, row: int, own: Rollout) -> bool:
    if candidate.row == row:
        return True
    return own.correct is False and own.answer is not None and _same(candidate.rollout.answer, own.answer)


def _same(candidate: str | None, other: str) -> bool:
    return candidate == other or same_answer(candidate, other)


def _worst(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    lowest = min(candidate.rollout.reward for candidate in admissible)
    return [rng.choice([candidate for candidate in admissible if candidate.rollout.reward == lowest])]


def _sampled(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return [rng.choice(admissible)]


def _common(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return _distinct(admissible)[:1]


def _marginal(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return _distinct(admissible)[: policy.count]


def _distinct(admissible: list[_Candidate]) -> list[_Candidate]:
    """One candidate for each distinct answer, the most frequent answer first, then in row order."""
    clusters: list[list[_Candidate]] = []
    for candidate in admissible:
        for cluster in clusters:
            if _same(candidate.rollout.answer, cluster[0].rollout.answer or ""):
                cluster.append(candidate)
                break
        else:
            clusters.append([candidate])
    return [cluster[0] for cluster in sorted(clusters, key=len, reverse=True)]


_PICK: dict[MinusPolicy, Callable[[list[_Candidate], ReferencePolicy, Random], list[_Candidate]]] = {
    "worst": _worst,
    "sampled": _sampled,
    "common": _common,
    "own": _sampled,
    "marginal": _marginal,
}
MINUS_POLICIES: tuple[MinusPolicy, ...] = get_args(MinusPolicy)
