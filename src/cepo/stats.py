"""How sure a measured number is: intervals, paired tests, pass@k, votes. No torch, no randomness."""

import math
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as students_t

_ROUNDING = 1e-12
"""A standard error this much smaller than its mean is rounding: the values are equal."""
LEAST_P = 0.001
"""Smaller p-values are shown as smaller than this: no p-value is 0."""


class Estimate(NamedTuple):
    """A mean and its two-sided confidence interval, in the unit of the values; None: too few values for one."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval's ends; the mean twice where there is no interval."""
        return (self.mean, self.mean) if self.low is None or self.high is None else (self.low, self.high)

    @property
    def side(self) -> int | None:
        """Of 0 on which the whole interval lies, 1 or -1; 0 where it holds 0, None without an interval."""
        if self.low is None or self.high is None:
            return None
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def text(self, digits: int = 1, *, scale: float = 100.0, sign: bool = False, unit: str = "") -> str:
        """`42.0 [39.8, 44.1]`: times `scale`, with a plus where `sign`, `unit` after every number."""
        mean = _number(self.mean, digits, scale, sign, unit)
        return f"{mean} {self.interval_text(digits, scale=scale, sign=sign, unit=unit)}".rstrip()

    def interval_text(self, digits: int = 1, *, scale: float = 100.0, sign: bool = False, unit: str = "") -> str:
        """The interval alone; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return "[{}, {}]".format(*(_number(end, digits, scale, sign, unit) for end in (self.low, self.high)))


class Difference(NamedTuple):
    """A mean difference, its two-sided confidence interval, and the p-value of "no difference"."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.mean, self.low, self.high)


def p_text(p: float) -> str:
    """`0.012`, or `<0.001`."""
    return f"{p:.2g}" if p >= LEAST_P else f"<{LEAST_P}"


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Success rate with Wilson's score interval: inside [0, 1], and with width at 0 and n successes too.

    centre = (p + z^2/2n) / (1 + z^2/n), half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n), p = successes / n.
    Source: Wilson 1927. For independent trials: several samples of one problem want `clustered_interval`.

    Raises:
        ValueError: n < 1, successes outside [0, n], confidence outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got successes={successes}, n={n}")
    _check_confidence(confidence)
    p, (low, high) = successes / n, binomtest(successes, n).proportion_ci(confidence, method="wilson")
    # At 0 or n successes a bound is 0 or 1 exactly, up to the rounding that min and max take off.
    return Estimate(p, max(0.0, min(p, float(low))), min(1.0, max(p, float(high))))


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Estimate:
    """Mean of independent values with Student's interval: mean +- t_{n-1} s / sqrt(n), unit of the values.

    Degenerate: equal values give an interval of width 0, which says that nothing was seen to vary.

    Raises:
        ValueError: fewer than two values, a value that is not finite, confidence outside (0, 1).
    """
    return _of_sample(_vector("values", values), confidence).estimate


def clustered_interval(values_by_problem: Iterable[Iterable[float]], confidence: float = 0.95) -> Estimate:
    """Mean over problems of each problem's mean, with the cluster standard error; unit of the values.

    Samples of one problem are not independent, problems are: `mean_interval` of the per-problem means. Each
    problem weighs the same however many samples it has. One sample per problem gives `mean_interval`.

    Raises:
        ValueError: fewer than two problems, a problem without samples, a value that is not finite.
    """
    means = [
        float(_vector(f"samples of problem {index}", samples, at_least=1).mean())
        for index, samples in enumerate(values_by_problem)
    ]
    return mean_interval(means, confidence)


def paired_difference(a: Iterable[float], b: Iterable[float], confidence: float = 0.95) -> Difference:
    """Mean of a_i - b_i over problems i measured under both, with Student's paired interval and p-value.

    t = mean(d) / (s_d / sqrt(n)), two-sided, n - 1 degrees of freedom. Positive: `a` is larger.
    Degenerate: differences that are all equal have no spread; then p is 1 if they are 0 and 0 otherwise.

    Raises:
        ValueError: unequal lengths, fewer than two problems, a value that is not finite.
    """
    first, second = _vector("a", a), _vector("b", b)
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths, got {len(first)} and {len(second)}")
    return _of_sample(first - second, confidence)


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm.

    Raises:
        ValueError: no values, one that is not finite or not above 0.
    """
    return math.exp(float(_logarithms("values", values, at_least=1).mean()))


def paired_ratio(a: Iterable[float], b: Iterable[float], confidence: float = 0.95) -> Difference:
    """Geometric mean of a_i / b_i with its interval and the p-value of "no difference", which is a ratio of 1.

    `paired_difference` of the logarithms, its mean and ends taken back by exp: halving and doubling weigh the same.

    Raises:
        ValueError: unequal lengths, fewer than two pairs, a value that is not finite or not above 0.
    """
    found = paired_difference(_logarithms("a", a), _logarithms("b", b), confidence)
    return Difference(math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.p)


def cluster_values(values: Iterable[float], clusters: Iterable[Hashable]) -> list[float]:
    """One value for each cluster, in the order of first appearance, whose plain mean is the mean of `values`.

    u_c = mean + (C / N) sum_{i in c} (v_i - mean), C clusters of N values: the linearised ratio estimator. Its
    `mean_interval` is the interval of the mean over values when clusters are independent and of unequal size,
    whereas `clustered_interval` gives every cluster the same weight. Clusters of one value give the values.

    Raises:
        ValueError: unequal lengths, no values, a value that is not finite.
    """
    vector, labels = _vector("values", values, at_least=1), list(clusters)
    if len(labels) != len(vector):
        raise ValueError(f"every value needs its cluster, got {len(vector)} values and {len(labels)} clusters")
    place = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    mean = float(vector.mean())
    sums = np.bincount([place[label] for label in labels], weights=vector - mean, minlength=len(place))
    return [float(value) for value in mean + sums * len(place) / len(vector)]


def crossed_difference(differences: Iterable[Iterable[float]], confidence: float = 0.95) -> Difference:
    """Mean of d_sc over seeds s and problems c, sure of other seeds AND other problems.

    Both are drawn at random and crossed: d_sc = mu + seed_s + problem_c + rest_sc. With the mean squares of the
    two-way layout without replication, Var(mean) = (MS_seed + MS_problem - MS_rest) / (S C), but no less than
    MS_seed / (S C) or MS_problem / (S C), and Satterthwaite's degrees of freedom, rounded down. That floor makes
    it conservative where seeds or problems do not matter: simulated coverage 95-98% with 3 seeds, where Student
    over seeds alone falls to 70% (problems matter) and over problems alone to 89% (seeds matter).
    Source: Clark 1973 (quasi-F), Satterthwaite 1946.

    Args:
        differences: for each seed the differences of all problems, or `cluster_values` of them.

    Degenerate: differences that are all equal give an interval of width 0; p is 1 if they are 0 and 0 otherwise.

    Raises:
        ValueError: fewer than two seeds or problems, rows of unequal length, a value that is not finite.
    """
    rows = [_vector(f"differences of seed {index}", row) for index, row in enumerate(differences)]
    if len(rows) < 2:
        raise ValueError(f"differences: need at least 2 seeds, got {len(rows)}")
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"every seed needs the same problems, got {[len(row) for row in rows]}")
    table = np.stack(rows)
    mean, (seeds, problems) = float(table.mean()), table.shape
    by_seed, by_problem = table.mean(axis=1), table.mean(axis=0)
    rest_df = (seeds - 1) * (problems - 1)
    rest = table - by_seed[:, None] - by_problem[None, :] + mean
    ms_seed = problems * float(by_seed.var(ddof=1))
    ms_problem = seeds * float(by_problem.var(ddof=1))
    ms_rest = float((rest**2).sum()) / rest_df
    spread = max(ms_seed + ms_problem - ms_rest, ms_seed, ms_problem)
    squares = ((ms_seed, seeds - 1), (ms_problem, problems - 1), (ms_rest, rest_df))
    freedom = 1 / sum((square / spread) ** 2 / free for square, free in squares) if spread else 1
    return _students(mean, math.sqrt(spread / table.size), max(1, int(freedom)), confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for having looked at all of them, in their order: Holm's step-down.

    The i-th smallest of n becomes max over j <= i of min(1, (n - j + 1) p_(j)). Rejecting where it is at most
    alpha keeps the chance of any false rejection at most alpha, however the tests depend on each other.
    Source: Holm 1979. None gives none, one is left as it is.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    for p in p_values:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value lies in [0, 1], got {p}")
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = reached
    return adjusted


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that k of n samples, drawn without replacement, hold one of the c correct ones.

    1 - C(n-c, k) / C(n, k): unbiased for pass@k. Source: arXiv 2107.03374 (HumanEval), equation 1. In whole
    numbers, so that nothing overflows or cancels. c = 0 gives 0; fewer than k wrong samples give 1.

    Raises:
        ValueError: unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"need 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    draws = math.comb(n, k)
    return (draws - math.comb(n - c, k)) / draws


def majority_vote(answers: Sequence[str | None], same: Callable[[str, str], bool] = operator.eq) -> str | None:
    """The answer most rollouts agree on (maj@n), as its first voter wrote it; ties go to the earliest.

    `same` decides agreement (pass the grader's equivalence to let 1/2 and 0.5 vote together). None, a rollout
    without an answer, has no vote; all None gives None.

    Raises:
        ValueError: no rollouts at all.
    """
    if not answers:
        raise ValueError("a vote needs at least one rollout, got none")
    votes: dict[str, int] = {}
    for answer in answers:
        if answer is not None:
            candidate = next((seen for seen in votes if same(seen, answer)), answer)
            votes[candidate] = votes.get(candidate, 0) + 1
    return max(votes, key=votes.__getitem__, default=None)


def _number(value: float, digits: int, scale: float, sign: bool, unit: str) -> str:
    return f"{scale * value:{'+' if sign else ''}.{digits}f}{unit}"


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")


def _vector(name: str, values: Iterable[float], at_least: int = 2) -> NDArray[np.float64]:
    vector = np.asarray(list(values), dtype=np.float64)
    if len(vector) < at_least:
        raise ValueError(f"{name}: need at least {at_least}, got {len(vector)}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: must be finite, got {vector[~np.isfinite(vector)][0]}")
    return vector


def _logarithms(name: str, values: Iterable[float], at_least: int = 2) -> NDArray[np.float64]:
    vector = _vector(name, values, at_least)
    if not (vector > 0).all():
        raise ValueError(f"{name}: must be above 0, got {vector[vector <= 0][0]}")
    return np.log(vector)


def _of_sample(vector: NDArray[np.float64], confidence: float) -> Difference:
    """The mean of independent values against 0."""
    error = float(vector.std(ddof=1)) / math.sqrt(len(vector))
    return _students(float(vector.mean()), error, len(vector) - 1, confidence)


def _students(mean: float, error: float, df: int, confidence: float) -> Difference:
    """Student's interval and two-sided p-value against 0 of a mean with its standard error."""
    _check_confidence(confidence)
    if error <= _ROUNDING * abs(mean):
        return Difference(mean, mean, mean, p=1.0 if mean == 0.0 else 0.0)
    low, high = students_t.interval(confidence, df, loc=mean, scale=error)
    return Difference(mean, float(low), float(high), p=float(2 * students_t.sf(abs(mean / error), df)))
