"""Does the largest blame of a wrong rollout lie on its first wrong step, and where does the rest of it lie?

Blame of a token is max(0, -Delta), praise max(0, Delta), nats, before clip and lambda; of a rule that does not go by
Delta alone (`decisive`), what it adds to the token above the row's least. In a wrong rollout one step
went wrong first; what stands before it was right, what follows from it is its consequence, and the words around say
nothing. In a right rollout the steps that decided are those at which wrong siblings first failed.

Chance is 1 / steps: what pointing at a random step finds. A method that always points at the end finds `at_end`.
Credit Without Ground Truth (arXiv 2608.19760) reports that outcome-conditioned log-ratios of large models are at
chance against executed replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cepo.lab.audit.evidence import Key, ScoreBook
from cepo.lab.audit.ledger import Ledger
from cepo.lab.audit.measure import GRPO, SURPRISAL, Choices
from cepo.lab.audit.metrics import Bools, Floats, Ints, ratio
from cepo.lab.audit.steps import FILLER, StepLabels
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING

__all__ = [
    "BLAME_MEASURES",
    "PLACES",
    "PRAISE_MEASURES",
    "blame_of",
    "failed_steps",
    "praise_of",
    "record_first_errors",
]

PLACES = (
    "3 or more before", "2 before", "1 before", "first wrong", "1 after", "2 after", "3 or more after", "last step",
    "answer", "words",
)  # fmt: skip
"""Where blame can lie, counted in steps from the first wrong one; each token lies at one place. `last step` and
`answer` are those that are not themselves the first wrong step or before it."""
_FIRST = PLACES.index("first wrong")

BLAME_MEASURES: dict[str, str] = {
    "found": "wrong rollouts whose largest blame lies on the first wrong step",
    "chance": "what pointing at a random step finds",
    "at_end": "what pointing at the end finds: first wrong is the last step, or the answer",
    "found_early": "as found, of those whose first wrong step is before the last",
    "blame_before": "share of a wrong rollout's blame on the right steps before the first wrong one",
    "blame_at": "... on the first wrong step",
    "blame_after": "... on steps after it, and the answer",
    "blame_words": "... on words",
    "echo": "share of a wrong rollout's |Delta| on the last step and the answer, of those that went wrong earlier",
}
PRAISE_MEASURES: dict[str, str] = {
    "praise_found": "right rollouts whose largest praise lies on a step at which a wrong sibling first failed",
    "praise_chance": "what pointing at a random step finds",
    "praise_at": "share of a right rollout's praise on steps at which siblings failed",
    "praise_other": "... on its other steps, and the answer",
    "praise_words": "... on words",
    "praise_echo": "share of its |Delta| on the last step and the answer",
}


def blame_of(evidence_T: Floats, labels: StepLabels) -> dict[str, float]:
    """Measures of one wrong rollout, with its blame by place; NaN where a measure has nothing to say.

    Raises:
        ValueError: no step is wrong.
    """
    if labels.wrong is None:
        raise ValueError("blame is measured where a step is wrong")
    blame_T = np.maximum(0.0, -evidence_T)
    first_T, last = labels.step_T == labels.wrong, labels.last
    early = last is not None and labels.wrong < last
    found = _largest(blame_T, first_T)
    by_place = _by_place(blame_T, labels)
    return {
        "found": found,
        "chance": 1.0 / max(1, labels.steps),
        "at_end": float(not early),
        "found_early": found if early else np.nan,
        "blame_before": sum(by_place[place] for place in PLACES[:_FIRST]),
        "blame_at": by_place["first wrong"],
        "blame_after": sum(by_place[place] for place in PLACES[_FIRST + 1 : -1]),
        "blame_words": by_place["words"],
        "echo": _echo(evidence_T, labels) if early else np.nan,
        **by_place,
    }


def praise_of(evidence_T: Floats, labels: StepLabels, failed: frozenset[int]) -> dict[str, float]:
    """Measures of one right rollout; `failed`: the steps at which wrong siblings first failed."""
    praise_T = np.maximum(0.0, evidence_T)
    at_T = np.isin(labels.step_T, list(failed))
    words_T = labels.step_T == FILLER
    return {
        "praise_found": _largest(praise_T, at_T),
        "praise_chance": len([step for step in failed if step < labels.steps]) / max(1, labels.steps),
        "praise_at": _share(praise_T, at_T),
        "praise_other": _share(praise_T, ~at_T & ~words_T),
        "praise_words": _share(praise_T, words_T),
        "praise_echo": _echo(evidence_T, labels),
    }


def failed_steps(group: Iterable[Target]) -> frozenset[int]:
    """The steps at which the wrong rollouts of a group first went wrong, where labels tell."""
    found = (member.steps.wrong for member in group if not member.right and member.steps is not None)
    return frozenset(step for step in found if step is not None)


def record_first_errors(choices: Choices, book: ScoreBook, ledger: Ledger) -> None:
    """Every variant on the rollouts for which all have references; beside them an even hand, and surprise alone."""
    paired = set(choices.paired())
    wrong = [t for t, _ in choices.placed if t in paired and not t.right and t.steps and t.steps.wrong is not None]
    failed = {
        target: steps
        for target, group in choices.placed
        if target in paired and target.right and not target.lucky and target.steps and (steps := failed_steps(group))
    }
    targets = [*wrong, *failed]
    for variant in choices.by_variant:
        _record(ledger, variant.name, choices.blame(variant, targets, book), wrong, failed)
    even = [np.full(len(target.ids), 1.0 if target.right else -1.0) for target in targets]
    _record(ledger, GRPO, even, wrong, failed)
    logps = [book[Key(target, ASKING[0], None)].astype(np.float64) for target in targets]
    surprise = [-logp_T if target.right else logp_T for target, logp_T in zip(targets, logps, strict=True)]
    _record(ledger, SURPRISAL, surprise, wrong, failed)


def _record(
    ledger: Ledger,
    name: str,
    evidence: Sequence[Floats],
    wrong: Sequence[Target],
    failed: Mapping[Target, frozenset[int]],
) -> None:
    blamed = [blame_of(e, t.steps) for e, t in zip(evidence, wrong, strict=False) if t.steps is not None]
    praised = [praise_of(e, t.steps, failed[t]) for e, t in zip(evidence[len(wrong) :], failed, strict=True) if t.steps]
    for rows, targets in ((blamed, wrong), (praised, list(failed))):
        if rows:
            problem_N = np.array([target.problem for target in targets], dtype=np.int64)
            ledger.add("first_error", name, "", _means(rows, problem_N, ledger.weight_RP), problem_N)


def _means(rows: Sequence[Mapping[str, float]], problem_N: Ints, weight_RP: Floats) -> dict[str, Floats]:
    """Mean over rollouts of each measure, of those that have it."""
    found = {}
    for name in rows[0]:
        value_N = np.array([row[name] for row in rows], dtype=np.float64)
        has_N = np.isfinite(value_N)
        found[name] = ratio(np.where(has_N, value_N, 0.0), has_N.astype(np.float64), problem_N, weight_RP)
    return found


def _by_place(blame_T: Floats, labels: StepLabels) -> dict[str, float]:
    place_T = np.array([_place(int(step), labels) for step in labels.step_T], dtype=np.int64)
    return {name: _share(blame_T, place_T == index) for index, name in enumerate(PLACES)}


def _place(step: int, labels: StepLabels) -> int:
    assert labels.wrong is not None
    distance = step - labels.wrong
    if step == FILLER:
        return PLACES.index("words")
    if distance > 0 and step == labels.answer:
        return PLACES.index("answer")
    if distance > 0 and step == labels.last:
        return PLACES.index("last step")
    return _FIRST + max(-3, min(3, distance))


def _largest(value_T: Floats, at_T: Bools) -> float:
    """Whether the largest value is at these tokens, of equal ones the share; 0 where all are 0."""
    most = value_T.max(initial=0.0)
    return float(at_T[value_T == most].mean()) if most > 0 else 0.0


def _share(value_T: Floats, at_T: Bools) -> float:
    whole = float(value_T.sum())
    return float(value_T[at_T].sum()) / whole if whole > 0 else np.nan


def _echo(evidence_T: Floats, labels: StepLabels) -> float:
    ends = [step for step in (labels.last, labels.answer) if step is not None]
    return _share(np.abs(evidence_T), np.isin(labels.step_T, ends))
