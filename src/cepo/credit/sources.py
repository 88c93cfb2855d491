"""Where the references of our own prompts come from, within one group: r+, r-, a worked solution, a right sibling,
feedback in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from cepo.answers import same_answer
from cepo.credit.choice import MAX_REFERENCE_CHARS, NO_ANSWER, NOTHING, Choice, ReferencePolicy
from cepo.glossary import Group, ReferenceForm, Rollout, Told

__all__ = ["bare", "feedback", "minus", "peer", "plus", "rival", "same", "solution"]


def plus(choice: Choice) -> Told:
    """The right answer (or solution): the data's, else a right sibling's."""
    group, form = choice.group, choice.policy.reference_form
    gold = group.gold if form == "answer" else group.solution
    if gold is not None:
        return Told((gold,), "gold", form)
    for sibling, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, form)
        if sibling != choice.row and rollout.correct and text is not None:
            return Told((text,), "sibling", form)
    return NOTHING


def solution(choice: Choice) -> Told:
    """The data's worked solution, else its answer (OPSD)."""
    group = choice.group
    if group.solution is not None:
        return Told((group.solution,), "gold", "rationale")
    return NOTHING if group.gold is None else Told((group.gold,), "gold")


def peer(choice: Choice) -> Told:
    """The group's first right rollout other than the row itself (SDPO)."""
    peers = (r.text.strip() for i, r in enumerate(choice.group.rollouts) if i != choice.row and r.correct)
    text = next((text for text in peers if text), None)
    return NOTHING if text is None else Told((text,), "sibling", "rationale")


def bare(choice: Choice) -> Told:
    """Nothing: the teacher's own prompt as it is. Of another teacher, "bare@large", its log-probs alone."""
    return Told(("",), "bare")


def feedback(choice: Choice) -> Told:
    """What reward functions said of the row, with a right sibling's solution where there is one (SDPO).

    Where nothing was said: the sibling's alone, as `peer`.
    """
    said, right = choice.own.feedback, peer(choice)
    if said is None:
        return right
    text = said if len(said) <= choice.policy.feedback_chars else f"{said[: choice.policy.feedback_chars]} ..."
    if right.texts:
        text = f"{text}\nThis solution is right:\n{right.texts[0]}"
    return Told((text,), "feedback", "feedback")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A wrong rollout that may serve as r-."""

    row: int
    rollout: Rollout
    text: str


def minus(choice: Choice) -> Told:
    """A wrong answer (or a wrong rollout) of the group, as the policy picks it."""
    policy, wrong = choice.policy, _wrong(choice)
    admissible = [candidate for candidate in wrong if policy.minus == "own" and candidate.row == choice.row]
    if not admissible:
        admissible = [c for c in wrong if policy.allow_self or not _is_own(c, choice.row, choice.own)]
    return _picked(choice, choice.group.rollouts, admissible)


def rival(choice: Choice) -> Told:
    """A wrong answer of another rollout, as the policy picks it; what the row itself says plays no part.

    `minus` spares a wrong row its own answer, so that which answer it is told says something of the row. `own` picks
    as `sampled` does.
    """
    others = [rollout for row, rollout in enumerate(choice.group.rollouts) if row != choice.row]
    return _picked(choice, others, [candidate for candidate in _wrong(choice) if candidate.row != choice.row])


def _wrong(choice: Choice) -> list[_Candidate]:
    """The group's wrong rollouts that may be told."""
    policy = choice.policy
    wrong = _wrong_candidates(choice.group, policy.reference_form)
    if policy.form == "answer":  # a named reward may find a rollout wrong whose answer is right
        right = plus(choice).texts
        wrong = [candidate for candidate in wrong if not (right and same(candidate.text, right[0]))]
    return wrong


def _picked(choice: Choice, rollouts: Sequence[Rollout], admissible: list[_Candidate]) -> Told:
    policy = choice.policy
    if policy.minus == "word_none" and any(rollout.correct is False for rollout in rollouts):
        return Told((NO_ANSWER,), "group", policy.reference_form)
    if not admissible:
        return Told((), policy.fallback, policy.reference_form)
    picked = _PICK[policy.minus](admissible, policy, choice.rng)
    is_own = any(_is_own(candidate, choice.row, choice.own) for candidate in picked)
    return Told(tuple(candidate.text for candidate in picked), "group", policy.reference_form, is_own)


def _wrong_candidates(group: Group, form: ReferenceForm) -> list[_Candidate]:
    candidates = []
    for row, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, form)
        if rollout.correct is False and text is not None:
            candidates.append(_Candidate(row, rollout, text))
    return candidates


def _reference_text(rollout: Rollout, form: ReferenceForm) -> str | None:
    if rollout.answer is None or len(rollout.answer) > MAX_REFERENCE_CHARS:
        return None
    return rollout.answer if form == "answer" else rollout.text.strip() or None


def _is_own(candidate: _Candidate, row: int, own: Rollout) -> bool:
    if candidate.row == row:
        return True
    return own.correct is False and own.answer is not None and same(candidate.rollout.answer, own.answer)


def same(candidate: str | None, other: str) -> bool:
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
            if same(candidate.rollout.answer, cluster[0].rollout.answer or ""):
                cluster.append(candidate)
                break
        else:
            clusters.append([candidate])
    return [cluster[0] for cluster in sorted(clusters, key=len, reverse=True)]


_PICK: dict[str, Callable[[list[_Candidate], ReferencePolicy, Random], list[_Candidate]]] = {
    "worst": _worst,
    "sampled": _sampled,
    "common": _common,
    "own": _sampled,
    "marginal": _marginal,
}
