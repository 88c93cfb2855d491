"""Monte-Carlo truth: does a step's evidence agree with what the step did to the chance of a right answer?

The value of a prefix is the share of K fresh continuations that end right (VinePPO, arXiv 2410.01679). A step is
a sentence or line of a rollout; its value change is the value after it less the value before it. Nothing is
labelled, so that this works on any verifiable data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cepo.lab.audit.metrics import Floats, ratio, spearman
from cepo.lab.audit.targets import Target

__all__ = ["MC_MEASURES", "Steps", "Value", "measure_steps", "reliability", "steps_of", "value_changes"]

MC_MEASURES: dict[str, str] = {
    "spearman": "rank correlation of a step's summed Delta with its value change, over all steps",
    "spearman_within": "the same after taking each rollout's mean off both: only the order within rollouts counts",
    "spearman_corrected": "spearman over the square root of the reliability: what exact values would give",
    "reliability": "of the value changes: correlation of two halves of the continuations, stepped up to all",
    "sign_agreement": "share of steps with Delta of the value change's sign, where that exceeds two standard errors",
}

_STEP_END = re.compile(r"[.!?](?=\s|$)|\n")


@dataclass(frozen=True, slots=True)
class Value:
    """Outcomes of a prefix's continuations; an ended rollout has its own outcome, exactly."""

    outcomes: tuple[bool, ...]
    exact: bool = False

    @property
    def mean(self) -> float:
        return sum(self.outcomes) / len(self.outcomes)

    def half(self, which: int) -> float:
        """The mean of every other outcome, from the first (0) or the second (1)."""
        outcomes = self.outcomes if self.exact else self.outcomes[which::2]
        return sum(outcomes) / len(outcomes)

    @property
    def variance(self) -> float:
        """Of the mean, p (1 - p) / K with p = (hits + 1) / (K + 2), so that K equal outcomes are no certainty."""
        if self.exact:
            return 0.0
        draws = len(self.outcomes)
        p = (sum(self.outcomes) + 1) / (draws + 2)
        return p * (1 - p) / draws


def steps_of(target: Target, longest: int) -> list[tuple[int, int]]:
    """Tokens [first, last) of each step: to the token that ends a sentence or a line, or `longest` tokens.

    A last step without text of its own (the end token alone) belongs to the step before.
    """
    ends_at = {match.end() for match in _STEP_END.finditer(target.text)}
    steps, first = [], 0
    for t, (start, end) in enumerate(target.token_chars):
        if any(start < place <= end for place in ends_at) or t + 1 - first == longest:
            steps.append((first, t + 1))
            first = t + 1
    if first < len(target.ids):
        has_text = target.text[target.token_chars[first][0] :].strip()
        if has_text or not steps:
            steps.append((first, len(target.ids)))
        else:
            steps[-1] = (steps[-1][0], len(target.ids))
    return steps


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of many rollouts side by side, (N,) each: the problem, the rollout, the value change and its halves."""

    problem_N: NDArray[np.int64]
    rollout_N: NDArray[np.int64]
    change_N: Floats
    half_a_N: Floats
    half_b_N: Floats
    error_N: Floats

    def only(self, rollouts: Sequence[int]) -> Steps:
        """The steps of some rollouts, in the same order."""
        keep_N = np.isin(self.rollout_N, rollouts)
        return Steps(*(getattr(self, one.name)[keep_N] for one in fields(self)))


def value_changes(targets: Sequence[Target], boundaries: Sequence[Sequence[Value]]) -> Steps:
    """The steps of targets whose values at the start and after each step are `boundaries`."""
    rows = [
        (
            target.problem,
            index,
            after.mean - before.mean,
            after.half(0) - before.half(0),
            after.half(1) - before.half(1),
            (before.variance + after.variance) ** 0.5,
        )
        for index, (target, values) in enumerate(zip(targets, boundaries, strict=True))
        for before, after in pairwise(values)
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    return Steps(columns[0].astype(np.int64), columns[1].astype(np.int64), *columns[2:])


def reliability(steps: Steps, weight_RP: Floats) -> Floats:
    """Rank correlation of two halves of the continuations, stepped up to all of them (Spearman-Brown), (R,)."""
    halves_R = spearman(steps.half_a_N, steps.half_b_N, steps.problem_N, weight_RP)
    return np.divide(2 * halves_R, 1 + halves_R, out=np.full_like(halves_R, np.nan), where=halves_R > -1)


def measure_steps(evidence_N: Floats, steps: Steps, weight_RP: Floats, reliability_R: Floats) -> dict[str, Floats]:
    """Every measure of `MC_MEASURES` but the reliability, (R,), for the summed evidence of each step."""
    rank_R = spearman(evidence_N, steps.change_N, steps.problem_N, weight_RP)
    certain_N = np.abs(steps.change_N) > 2 * steps.error_N
    agree_N = certain_N & (np.sign(evidence_N) == np.sign(steps.change_N))
    return {
        "spearman": rank_R,
        "spearman_within": spearman(
            _centred(evidence_N, steps.rollout_N), _centred(steps.change_N, steps.rollout_N), steps.problem_N, weight_RP
        ),
        "spearman_corrected": rank_R / np.sqrt(np.where(reliability_R > 0, reliability_R, np.nan)),
        "sign_agreement": ratio(agree_N.astype(np.float64), certain_N.astype(np.float64), steps.problem_N, weight_RP),
    }


def _centred(value_N: Floats, rollout_N: NDArray[np.int64]) -> Floats:
    """Less the mean of the rollout's steps."""
    if not len(value_N):
        return value_N
    return value_N - (np.bincount(rollout_N, value_N) / np.maximum(np.bincount(rollout_N), 1))[rollout_N]
