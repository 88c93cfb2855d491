"""Measures of credit, each with its bootstrap over problems. numpy only.

Every measure takes `weight_RP`: how often problem p stands in resample r, of which row 0 is the data itself
(all ones). It returns one value per row, (R,): the estimate first, then its resamples, NaN where a resample has
nothing to measure. Tokens of one problem always go together, for they are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Floats",
    "Measured",
    "auroc",
    "average_precision",
    "quantile",
    "ratio",
    "resamples",
    "spearman",
    "summarise",
]

Floats = NDArray[np.float64]
_CHUNK = 2**22
"""Numbers of one working array."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate with its 95% interval over `problems` problems; None: nothing to measure it on."""

    value: float | None
    low: float | None
    high: float | None
    problems: int

    @property
    def excludes(self) -> float | None:
        """How far the interval stays from 0: its nearer end; 0 where 0 is inside, None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low if self.low > 0 else self.high if self.high < 0 else 0.0


def resamples(problems: int, replicates: int, seed: int) -> Floats:
    """`weight_RP`: the data itself, then `replicates` draws of as many problems with replacement.

    Raises:
        ValueError: no problem.
    """
    if problems < 1:
        raise ValueError("there is no problem to resample")
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(problems, np.full(problems, 1.0 / problems), size=replicates)
    return np.concatenate([np.ones((1, problems)), draws.astype(np.float64)])


def summarise(value_R: Floats, problems: int) -> Measured:
    """Percentile interval of the resamples; without a spread to speak of (fewer than two problems) none."""
    if not np.isfinite(value_R[0]):
        return Measured(None, None, None, problems)
    drawn = value_R[1:][np.isfinite(value_R[1:])]
    if problems < 2 or not len(drawn):
        return Measured(float(value_R[0]), None, None, problems)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Measured(float(value_R[0]), float(low), float(high), problems)


def ratio(numerator_N: Floats, denominator_N: Floats, problem_N: NDArray[np.int64], weight_RP: Floats) -> Floats:
    """sum of numerators / sum of denominators; with ones below it is a mean over tokens."""
    size = weight_RP.shape[1]
    above = weight_RP @ np.bincount(problem_N, numerator_N, minlength=size)
    below = weight_RP @ np.bincount(problem_N, denominator_N, minlength=size)
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def auroc(score_N: Floats, label_N: NDArray[np.bool_], problem_N: NDArray[np.int64], weight_RP: Floats) -> Floats:
    """Probability that a positive token's score exceeds a negative one's; a tie counts one half.

    U_pq counts, for the positives of problem p against the negatives of q, wins and half the ties; a resample
    only weighs it: sum_pq w_p w_q U_pq / (sum_p w_p positives_p  sum_q w_q negatives_q).
    """
    size = weight_RP.shape[1]
    won_PP = np.zeros((size, size))
    hit_N, hit_problem_N = score_N[label_N], problem_N[label_N]
    for other in np.unique(problem_N[~label_N]):
        missed = np.sort(score_N[~label_N & (problem_N == other)])
        below = np.searchsorted(missed, hit_N, "left") + np.searchsorted(missed, hit_N, "right")
        won_PP[:, other] = np.bincount(hit_problem_N, below / 2, minlength=size)
    hits_R = weight_RP @ np.bincount(hit_problem_N, minlength=size)
    misses_R = weight_RP @ np.bincount(problem_N[~label_N], minlength=size)
    won_R = ((weight_RP @ won_PP) * weight_RP).sum(axis=1)
    pairs_R = hits_R * misses_R
    return np.divide(won_R, pairs_R, out=np.full(len(pairs_R), np.nan), where=pairs_R > 0)


def average_precision(
    score_N: Floats, label_N: NDArray[np.bool_], problem_N: NDArray[np.int64], weight_RP: Floats
) -> Floats:
    """sum_k (recall_k - recall_{k-1}) precision_k over thresholds k; ties share a threshold."""
    value_R = np.full(len(weight_RP), np.nan)
    for rows, hit_RK, miss_RK in _cumulated(score_N, label_N, problem_N, weight_RP):
        total_RK = hit_RK + miss_RK
        precision_RK = np.divide(hit_RK, total_RK, out=np.zeros_like(total_RK), where=total_RK > 0)
        gained_R = (np.diff(hit_RK, axis=1, prepend=0.0) * precision_RK).sum(axis=1)
        hits = hit_RK[:, -1]
        value_R[rows] = np.divide(gained_R, hits, out=np.full(len(hits), np.nan), where=hits > 0)
    return value_R


def _cumulated(score_N: Floats, label_N: NDArray[np.bool_], problem_N: NDArray[np.int64], weight_RP: Floats):
    """(rows, hits, misses) with both (R, K): weight of positives and negatives at or above each of K thresholds."""
    if not len(score_N):
        return
    order = np.argsort(-score_N, kind="stable")
    score_N, label_N, problem_N = score_N[order], label_N[order], problem_N[order]
    last_K = np.flatnonzero(np.append(score_N[1:] != score_N[:-1], True))
    for first in range(0, len(weight_RP), max(1, _CHUNK // len(score_N))):
        rows = slice(first, first + max(1, _CHUNK // len(score_N)))
        weight_RN = weight_RP[rows][:, problem_N]
        total_RK = weight_RN.cumsum(axis=1)[:, last_K]
        hit_RK = (weight_RN * label_N).cumsum(axis=1)[:, last_K]
        yield rows, hit_RK, total_RK - hit_RK


def quantile(value_N: Floats, share: float, problem_N: NDArray[np.int64], weight_RP: Floats) -> Floats:
    """The smallest value that at least `share` of the weight does not exceed."""
    if not len(value_N):
        return np.full(len(weight_RP), np.nan)
    order = np.argsort(value_N, kind="stable")
    value_N, problem_N = value_N[order], problem_N[order]
    found = []
    for weight_P in weight_RP:
        cumulated_N = weight_P[problem_N].cumsum()
        if cumulated_N[-1] == 0:
            found.append(np.nan)
            continue
        # Sums of whole numbers are exact, so that the estimate does not hang on a rounding.
        found.append(value_N[np.searchsorted(cumulated_N, np.ceil(share * cumulated_N[-1]))])
    return np.array(found)


def spearman(x_N: Floats, y_N: Floats, problem_N: NDArray[np.int64], weight_RP: Floats) -> Floats:
    """Rank correlation, ties at their middle rank; NaN where x or y does not vary."""
    found = []
    for weight_P in weight_RP:
        times_N = weight_P[problem_N].astype(np.int64)
        found.append(_correlation(_ranks(np.repeat(x_N, times_N)), _ranks(np.repeat(y_N, times_N))))
    return np.array(found)


def _ranks(value_N: Floats) -> Floats:
    _, place_N, count_K = np.unique(value_N, return_inverse=True, return_counts=True)
    end_K = count_K.cumsum()
    return ((end_K - count_K + 1 + end_K) / 2)[place_N]


def _correlation(x_N: Floats, y_N: Floats) -> float:
    if len(x_N) < 2 or x_N.min() == x_N.max() or y_N.min() == y_N.max():
        return float("nan")
    return float(np.corrcoef(x_N, y_N)[0, 1])


def concatenated(parts: Sequence[Floats]) -> Floats:
    """One array of all parts; no part gives an empty one."""
    return np.concatenate(parts) if parts else np.zeros(0)
