import itertools
import math
import statistics

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.stats import (
    Difference,
    Estimate,
    cluster_values,
    clustered_interval,
    crossed_difference,
    geometric_mean,
    holm,
    majority_vote,
    mean_interval,
    p_text,
    paired_difference,
    paired_ratio,
    pass_at_k,
    wilson_interval,
)

VALUES = st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=12)


@given(st.integers(2, 200), st.floats(-60.0, 60.0))
def test_p_value_against_the_incomplete_beta_function(n, t):
    """Differences of mean t / sqrt(n) and standard deviation 1 have the statistic t."""
    values = np.array([1.0, -1.0] + [0.0] * (n - 2))
    shifted = values / values.std(ddof=1) + t / math.sqrt(n)
    with mpmath.workdps(40):
        share = mpmath.mpf(n - 1) / (n - 1 + mpmath.mpf(t) ** 2)
        both_tails = float(mpmath.betainc(mpmath.mpf(n - 1) / 2, 0.5, 0, share, regularized=True))
    assert paired_difference(shifted, [0.0] * n).p == pytest.approx(both_tails, abs=1e-9)


@pytest.mark.parametrize(
    ("confidence", "n", "quantile"),
    [  # printed tables of Student's distribution
        (0.95, 2, 12.7062047362),
        (0.95, 3, 4.3026527297),
        (0.95, 5, 2.7764451052),
        (0.90, 10, 1.8331129327),
        (0.99, 30, 2.7563859036),
        (0.95, 121, 1.9799304051),
    ],
)
def test_mean_interval_against_tables(confidence, n, quantile):
    values = np.array([1.0, -1.0] + [0.0] * (n - 2))
    estimate = mean_interval(values / values.std(ddof=1), confidence)
    assert estimate.high * math.sqrt(n) == pytest.approx(quantile, abs=1e-9)
    assert estimate.low == pytest.approx(-estimate.high, abs=1e-12)


def test_wilson_against_published_values():
    """Newcombe 1998, Table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ]:
        got = wilson_interval(successes, n)
        assert (got.low, got.high) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((1 / 29, 0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_is_ordered_and_symmetric(n, data):
    successes = data.draw(st.integers(0, n))
    mean, low, high = wilson_interval(successes, n)
    assert 0.0 <= low <= mean <= high <= 1.0
    mirrored = wilson_interval(n - successes, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_counts(successes, n):
    with pytest.raises(ValueError, match=f"successes={successes}, n={n}"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_confidence_is_a_probability(confidence):
    for call in (lambda: wilson_interval(1, 2, confidence), lambda: mean_interval([1.0, 2.0], confidence)):
        with pytest.raises(ValueError, match=f"got {confidence}"):
            call()


def test_an_estimate_is_printed_in_one_way():
    estimate = Estimate(0.42, 0.398, 0.4412)
    assert estimate.text() == "42.0 [39.8, 44.1]"
    assert estimate.text(2, scale=1.0, sign=True) == "+0.42 [+0.40, +0.44]"
    assert estimate.text(unit="%") == "42.0% [39.8%, 44.1%]"
    assert Difference(-0.05, -0.08, -0.02, 0.01).estimate.interval_text(sign=True) == "[-8.0, -2.0]"
    assert (Estimate(1.0).text(), Estimate(1.0).interval_text()) == ("100.0", "")
    assert [p_text(p) for p in (0.0123, 0.001, 0.0009, 0.0)] == ["0.012", "0.001", "<0.001", "<0.001"]


def test_an_estimate_says_on_which_side_of_zero_it_lies():
    cases = [(2.0, 1.0, 3.0), (-2.0, -3.0, -1.0), (0.1, -1.0, 1.0), (1.0, 0.0, 2.0), (0.1, None, None)]
    assert [Estimate(*case).side for case in cases] == [1, -1, 0, 0, None]
    assert [Estimate(*case).bounds for case in cases[-2:]] == [(0.0, 2.0), (0.1, 0.1)]


def test_mean_interval_by_hand():
    """(1, 2, 3, 4): mean 2.5, s = 1.29099, t_3 = 3.18245, half width 2.05426."""
    assert mean_interval([1, 2, 3, 4]) == pytest.approx((2.5, 0.445739744, 4.554260256), abs=1e-6)


def test_mean_interval_covers_at_its_nominal_rate():
    rng = np.random.default_rng(0)
    hits = sum(low <= 3.0 <= high for _, low, high in (mean_interval(rng.normal(3.0, 2.0, 5)) for _ in range(1000)))
    assert 930 <= hits <= 970


def test_equal_values_have_no_width():
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("values", "message"), [([1.0], "at least 2, got 1"), ([1.0, math.nan], "finite, got nan")])
def test_mean_interval_needs_numbers(values, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(values)


@given(VALUES)
def test_clusters_of_one_are_independent_values(values):
    assert clustered_interval([[value] for value in values]) == mean_interval(values)


def test_repeating_a_sample_adds_no_certainty():
    problems = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    repeated = [samples * 50 for samples in problems]
    assert clustered_interval(repeated) == pytest.approx(clustered_interval(problems))
    flat = [value for samples in repeated for value in samples]
    clustered, naive = clustered_interval(repeated), mean_interval(flat)
    assert clustered.high - clustered.low > 5 * (naive.high - naive.low)


def test_clusters_need_samples():
    with pytest.raises(ValueError, match="samples of problem 1: need at least 1, got 0"):
        clustered_interval([[1.0], [], [0.0]])


def test_paired_difference_on_students_sleep_data():
    """Student 1908, extra hours of sleep under two drugs: mean 1.58, interval 0.70 to 2.46, p = 0.002833."""
    laevo = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    dextro = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    got = paired_difference(laevo, dextro)
    assert got == pytest.approx((1.58, 0.7001142, 2.4598858, 0.00283289), rel=1e-5)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=10))
def test_paired_difference_is_antisymmetric(pairs):
    a, b = zip(*pairs, strict=True)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert 0.0 <= forth.p <= 1.0
    assert forth.p == pytest.approx(back.p)


def test_p_crosses_its_level_with_the_interval():
    a, b = [1.0, 2.0, 4.0, 3.0], [0.0, 0.5, 1.0, 4.0]
    p = paired_difference(a, b).p
    assert paired_difference(a, b, confidence=1 - p).low == pytest.approx(0.0, abs=1e-9)


def test_paired_difference_without_spread():
    assert paired_difference([1, 2], [1, 2]).p == 1.0
    assert paired_difference([2, 3], [1, 2]) == (1.0, 1.0, 1.0, 0.0)


def test_a_ratio_is_a_difference_of_logarithms():
    """Halved, halved and kept: the geometric mean is 2 ** (-2 / 3); upside down it is the inverse, with the same p."""
    ratio = paired_ratio([1.0, 5.0, 3.0], [2.0, 10.0, 3.0])
    half = 4.3026527297 * math.log(2) * math.sqrt(1 / 3) / math.sqrt(3)
    assert ratio[:3] == pytest.approx((2 ** (-2 / 3), 2 ** (-2 / 3) / math.exp(half), 2 ** (-2 / 3) * math.exp(half)))
    back = paired_ratio([2.0, 10.0, 3.0], [1.0, 5.0, 3.0])
    assert back == pytest.approx((1 / ratio.mean, 1 / ratio.high, 1 / ratio.low, ratio.p))
    assert geometric_mean([0.5, 0.5, 1.0]) == pytest.approx(ratio.mean)
    assert paired_ratio([3.0, 6.0], [1.0, 2.0]) == pytest.approx((3.0, 3.0, 3.0, 0.0))


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, -1.0], [1.0, math.nan]])
def test_a_ratio_needs_numbers_above_zero(values):
    for call in (lambda: paired_ratio(values, [1.0, 1.0]), lambda: geometric_mean(values)):
        with pytest.raises(ValueError, match="must be"):
            call()


def test_pairs_need_partners():
    with pytest.raises(ValueError, match="equal lengths, got 2 and 3"):
        paired_difference([1, 2], [1, 2, 3])


@given(st.integers(1, 7), st.data())
def test_pass_at_k_by_enumeration(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(statistics.fmean(any(draw) for draw in draws))


def test_pass_at_k_does_not_overflow():
    assert pass_at_k(10_000, 1, 5_000) == 0.5
    assert pass_at_k(10_000, 0, 5_000) == 0.0
    assert pass_at_k(10, 6, 5) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_counts(n, c, k):
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


def test_majority_vote():
    assert majority_vote(["4", "5", "4", None, None, None]) == "4"
    assert majority_vote(["5", "4", "4", "5"]) == "5"
    assert majority_vote([None, None]) is None
    with pytest.raises(ValueError, match="at least one"):
        majority_vote([])


def test_majority_vote_with_the_graders_equivalence():
    def same(one: str, other: str) -> bool:
        return float(one) == float(other)

    assert majority_vote(["2", "0.5", ".50", "2.0", "0.50"], same) == "0.5"


def test_cluster_values_by_hand():
    """Mean 3/4; three clusters of four values; cluster a is 1/2 below its share, b and c 1/4 above, times 3/4."""
    assert cluster_values([1, 0, 1, 1], "aabc") == pytest.approx([0.375, 0.9375, 0.9375])


@given(VALUES, st.integers(1, 4))
def test_cluster_values_keep_the_mean(values, clusters):
    labels = [index % clusters for index in range(len(values))]
    assert statistics.fmean(cluster_values(values, labels)) == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert cluster_values(values, range(len(values))) == pytest.approx(values)


def test_every_value_needs_its_cluster():
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        cluster_values([1, 2], ["a"])


def test_crossed_difference_by_hand():
    """Mean squares 1.5 (seeds), 1.5 (problems), 0.5 (rest): variance 2.5 / 6, 6.25 / 3.5 = 1.79 -> 1 degree."""
    error = math.sqrt(2.5 / 6)
    got = crossed_difference([[1, 2, 3], [2, 4, 3]])
    assert (got.low, got.mean, got.high) == pytest.approx((2.5 - 12.7062 * error, 2.5, 2.5 + 12.7062 * error), rel=1e-5)
    assert got.p == pytest.approx(1 - 2 / math.pi * math.atan(2.5 / error))


@pytest.mark.parametrize(("seed_sd", "problem_sd", "too_narrow"), [(0.0, 0.5, "seeds"), (0.03, 0.1, "problems")])
def test_crossed_difference_covers_where_one_source_alone_does_not(seed_sd, problem_sd, too_narrow):
    rng = np.random.default_rng(0)
    crossed = alone = 0
    for _ in range(400):
        table = rng.normal(0, 0.3, (3, 250)) + rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, problem_sd, (1, 250))
        low, high = crossed_difference(table)[1:3]
        crossed += low <= 0 <= high
        low, high = mean_interval(table.mean(axis=1 if too_narrow == "seeds" else 0))[1:]
        alone += low <= 0 <= high
    assert crossed >= 0.93 * 400
    assert alone <= 0.85 * 400


@given(st.lists(st.tuples(*[st.floats(-10, 10)] * 3), min_size=2, max_size=5))
def test_crossed_difference_is_antisymmetric(rows):
    forth, back = crossed_difference(rows), crossed_difference([[-value for value in row] for row in rows])
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert forth.low <= forth.mean <= forth.high
    assert 0.0 <= forth.p <= 1.0


def test_crossed_difference_without_spread():
    assert crossed_difference([[0, 0], [0, 0]]) == (0.0, 0.0, 0.0, 1.0)
    assert crossed_difference([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]]) == pytest.approx((0.1, 0.1, 0.1, 0.0))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2]], "at least 2 seeds, got 1"),
        ([[1, 2], [1]], "seed 1: need at least 2, got 1"),
        ([[1, 2], [1, 2, 3]], "same problems"),
    ],
)
def test_crossed_difference_needs_a_full_table(rows, message):
    with pytest.raises(ValueError, match=message):
        crossed_difference(rows)


def test_holm_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 which may not be below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"got 1\.5"):
        holm([1.5])
