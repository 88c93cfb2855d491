"""Measures of credit, each with its bootstrap over problems.

Every measure takes `weight_RP`: how often problem p stands in resample r, of which row 0 is the data itself
(all ones). It returns one value per row, (R,): the estimate first, then its resamples, NaN where a resample has
nothing to measure. Tokens of one problem always go together, for they are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cepo.stats import Estimate

__all__ = [
    "Bools", "Floats", "Ints", "auroc", "average_precision", "concatenated", "quantile", "ratio", "resamples",
    "spearman", "summarise",
]  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def resamples(problems: int, replicates: int, seed: int) -> Floats:
    """`weight_RP`: the data itself, then `replicates` draws of as many problems with replacement.

    scipy's bootstrap draws for one statistic; here all share their draws, so that two of them can be paired.

    Raises:
        ValueError: no problem.
    """
    if problems < 1:
        raise ValueError("there is no problem to resample")
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(problems, np.full(problems, 1.0 / problems), size=replicates)
    return np.concatenate([np.ones((1, problems)), draws.astype(np.float64)])


def summarise(value_R: Floats, problems: int) -> Estimate | None:
    """The estimate with the 95% percentile interval of its resamples; None: there was nothing to measure.

    Without a spread to speak of (fewer than two problems) there is no interval.
    """
    if not np.isfinite(value_R[0]):
        return None
    drawn = value_R[1:][np.isfinite(value_R[1:])]
    if problems < 2 or not len(drawn):
        return Estimate(float(value_R[0]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value_R[0]), float(low), float(high))


def ratio(numerator_N: Floats, denominator_N: Floats, problem_N: Ints, weight_RP: Floats) -> Floats:
    """sum of numerators / sum of denominators; with ones below it is a mean over tokens."""
    size = weight_RP.shape[1]
    above = weight_RP @ np.bincount(problem_N, numerator_N, minlength=size)
    below = weight_RP @ np.bincount(problem_N, denominator_N, minlength=size)
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def auroc(score_N: Floats, label_N: Bools, problem_N: Ints, weight_RP: Floats) -> Floats:
    """Probability that a positive token's score exceeds a negative one's; a tie counts one half.

    All resamples at once: with 500 of them on 15,000 tokens of 100 problems 0.06 s, where scikit-learn's
    `roc_auc_score` with weights takes 2.0 s, and an audit asks about 300 times. The tests hold it equal to that.

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


def average_precision(score_N: Floats, label_N: Bools, problem_N: Ints, weight_RP: Floats) -> Floats:
    """sum_k (recall_k - recall_{k-1}) precision_k over thresholds k; ties share a threshold.

    Sorted once for all resamples: 0.11 s where scikit-learn's `average_precision_score` takes 1.2 s, as for `auroc`.
    """
    order_N = np.argsort(-score_N, kind="stable")
    last_K = np.flatnonzero(np.diff(score_N[order_N], append=np.nan))

    def one(weight_N: Floats) -> float:
        sorted_N = weight_N[order_N]
        hit_K, all_K = (sorted_N * label_N[order_N]).cumsum()[last_K], sorted_N.cumsum()[last_K]
        precision_K = hit_K / np.maximum(all_K, 1.0)
        return float(np.diff(hit_K, prepend=0.0) @ precision_K / hit_K[-1])

    return _per_resample(one, problem_N, weight_RP, lambda weight_N: bool((weight_N * label_N).any()))


def quantile(value_N: Floats, share: float, problem_N: Ints, weight_RP: Floats) -> Floats:
    """The smallest value that at least `share` of the weight does not exceed."""

    def one(weight_N: Floats) -> float:
        return float(np.quantile(_repeated(value_N, weight_N), share, method="inverted_cdf"))

    return _per_resample(one, problem_N, weight_RP, lambda weight_N: bool(weight_N.any()))


def spearman(x_N: Floats, y_N: Floats, problem_N: Ints, weight_RP: Floats) -> Floats:
    """Rank correlation, ties at their middle rank; NaN where x or y does not vary."""

    def varies(weight_N: Floats) -> bool:
        kept_N = weight_N > 0
        return bool(kept_N.any()) and all(np.ptp(value_N[kept_N]) > 0 for value_N in (x_N, y_N))

    def one(weight_N: Floats) -> float:
        ranks = [rankdata(_repeated(value_N, weight_N)) for value_N in (x_N, y_N)]
        return float(np.corrcoef(*ranks)[0, 1])

    return _per_resample(one, problem_N, weight_RP, varies)


def _per_resample(
    measure: Callable[[Floats], float], problem_N: Ints, weight_RP: Floats, has_value: Callable[[Floats], bool]
) -> Floats:
    """`measure` of the tokens' weights in each resample, (R,); NaN where there is nothing to measure."""
    weights = (weight_P[problem_N] for weight_P in weight_RP)
    return np.array([measure(weight_N) if has_value(weight_N) else np.nan for weight_N in weights])


def _repeated(value_N: Floats, weight_N: Floats) -> Floats:
    """Every value as often as its problem was drawn."""
    return np.repeat(value_N, weight_N.astype(np.int64))


def concatenated(parts: Sequence[Floats]) -> Floats:
    """One array of all parts; no part gives an empty one."""
    return np.concatenate(parts) if parts else np.zeros(0)
