"""Measures against loops and hand-computed values; the bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.lab.audit.metrics import (
    Measured,
    auroc,
    average_precision,
    quantile,
    ratio,
    resamples,
    spearman,
    summarise,
)

ONE = np.ones((1, 1))


def naive_auroc(scores, labels):
    hits = [score for score, hit in zip(scores, labels, strict=True) if hit]
    misses = [score for score, hit in zip(scores, labels, strict=True) if not hit]
    wins = sum(1.0 if hit > miss else 0.5 if hit == miss else 0.0 for hit in hits for miss in misses)
    return wins / (len(hits) * len(misses))


def naive_average_precision(scores, labels):
    """Every threshold in turn, from the highest: recall gained times precision there."""
    total, value, seen = sum(labels), 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        above = [hit for s, hit in zip(scores, labels, strict=True) if s >= threshold]
        value += (sum(above) - seen) / total * sum(above) / len(above)
        seen = sum(above)
    return value


def naive_ranks(values):
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


def arrays(scores, labels, problems=None):
    problems = [0] * len(scores) if problems is None else problems
    return np.array(scores, dtype=float), np.array(labels, dtype=bool), np.array(problems, dtype=np.int64)


def test_by_hand():
    scores, labels, problems = arrays([3, 2, 2, 1], [True, False, True, False])
    # Pairs: 3>2, 3>1, 2=2, 2>1. Thresholds: 3 (1 of 1), 2 (2 of 3).
    assert auroc(scores, labels, problems, ONE)[0] == 3.5 / 4
    assert average_precision(scores, labels, problems, ONE)[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert quantile(scores, 0.5, problems, ONE)[0] == 2
    assert quantile(scores, 0.9, problems, ONE)[0] == 3


labelled = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), min_size=2, max_size=30).filter(
    lambda rows: len({label for _, label, _ in rows}) == 2
)


@given(labelled, st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_weights_are_repeats(rows, weights):
    """A problem that stands w times in a resample counts as w copies of its tokens would."""
    scores, labels, problems = arrays(*zip(*rows, strict=True))
    times = np.array(weights)[problems]
    repeated = [np.repeat(values, times) for values in (scores, labels)]
    weight_RP = np.array([[1.0, 1.0, 1.0], [float(w) for w in weights]])
    for ours, naive in ((auroc, naive_auroc), (average_precision, naive_average_precision)):
        values = ours(scores, labels, problems, weight_RP)
        assert values[0] == pytest.approx(naive(scores.tolist(), labels.tolist()))
        if repeated[1].any() and not repeated[1].all():
            assert values[1] == pytest.approx(naive(repeated[0].tolist(), repeated[1].tolist()))
        else:
            assert math.isnan(values[1]) or ours is average_precision


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_spearman_is_the_correlation_of_middle_ranks(points):
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    value = spearman(x, y, np.zeros(len(x), dtype=np.int64), ONE)[0]
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(np.corrcoef(naive_ranks(x), naive_ranks(y))[0, 1])


def test_ratio_weighs_problems():
    value = ratio(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1]), np.array([[1, 1], [0, 2]]))
    assert value.tolist() == [9 / 4, 3.0]
    assert math.isnan(ratio(np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.int64), ONE)[0])


def test_nothing_to_measure_is_nan():
    empty = arrays([], [])
    assert math.isnan(auroc(*empty, ONE)[0])
    assert math.isnan(average_precision(*empty, ONE)[0])
    assert math.isnan(auroc(*arrays([1, 2], [True, True]), ONE)[0])
    assert summarise(np.array([np.nan, 1.0]), 5) == Measured(None, None, None, 5)


def test_bootstrap_is_seeded_and_starts_with_the_data():
    first = resamples(7, 50, seed=3)
    assert np.array_equal(first, resamples(7, 50, seed=3))
    assert not np.array_equal(first, resamples(7, 50, seed=4))
    assert (first[0] == 1).all()
    assert (first.sum(axis=1) == 7).all()
    with pytest.raises(ValueError, match="no problem"):
        resamples(0, 10, seed=0)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Means of 40 problems with 5 tokens each: about 57 of 60 intervals hold the truth, 0."""
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(40), 5)
    covered = 0
    for trial in range(60):
        values = rng.normal(size=40)[problems] + rng.normal(size=200)
        measured = summarise(ratio(values, np.ones(200), problems, resamples(40, 200, trial)), 40)
        assert measured.low is not None
        assert measured.high is not None
        covered += measured.low <= 0 <= measured.high
    assert 52 <= covered <= 60


def test_an_interval_says_how_far_it_stays_from_zero():
    assert Measured(2.0, 1.0, 3.0, 9).excludes == 1.0
    assert Measured(-2.0, -3.0, -1.0, 9).excludes == -1.0
    assert Measured(0.1, -1.0, 1.0, 9).excludes == 0.0
    assert Measured(0.1, None, None, 1).excludes is None
