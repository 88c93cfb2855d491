"""Measures against loops and hand-computed values; the bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from cepo.lab.audit.metrics import (
    auroc,
    average_precision,
    quantile,
    ratio,
    resamples,
    spearman,
    summarise,
)
from cepo.stats import Estimate

ONE = np.ones((1, 1))


def naive_quantile(values, share):
    """The smallest value that at least `share` of the values do not exceed."""
    return next(value for value in sorted(values) if sum(o <= value for o in values) >= share * len(values))


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
    for ours, oracle in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        values = ours(scores, labels, problems, weight_RP)
        assert values[0] == pytest.approx(oracle(labels, scores), abs=1e-9)
        if repeated[1].any() and not repeated[1].all():
            assert values[1] == pytest.approx(oracle(*repeated[::-1]), abs=1e-9)
            assert values[1] == pytest.approx(oracle(labels, scores, sample_weight=times), abs=1e-9)
        elif ours is average_precision and len(repeated[1]):
            assert math.isnan(values[1]) or values[1] == 1.0
        else:
            assert math.isnan(values[1])
    for share in (0.5, 0.9):
        found = quantile(scores, share, problems, weight_RP)[1]
        assert math.isnan(found) if not len(repeated[0]) else found == naive_quantile(repeated[0].tolist(), share)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20), st.integers(0, 3))
def test_spearman_is_scipy_s_of_the_repeated_values(points, times):
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    problems = np.array([0, *[1] * (len(points) - 1)])
    values = spearman(x, y, problems, np.array([[1.0, 1.0], [2.0, times]]))
    for value, repeats in zip(values, (np.ones(len(x), dtype=int), np.where(problems, times, 2)), strict=True):
        drawn = np.repeat(x, repeats), np.repeat(y, repeats)
        if any(len(set(column)) < 2 for column in drawn):
            assert math.isnan(value)
        else:
            assert value == pytest.approx(spearmanr(*drawn).statistic, abs=1e-9)


def test_ratio_weighs_problems():
    value = ratio(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1]), np.array([[1, 1], [0, 2]]))
    assert value.tolist() == [9 / 4, 3.0]
    assert math.isnan(ratio(np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.int64), ONE)[0])


def test_nothing_to_measure_is_nan():
    empty = arrays([], [])
    assert math.isnan(auroc(*empty, ONE)[0])
    assert math.isnan(average_precision(*empty, ONE)[0])
    assert math.isnan(auroc(*arrays([1, 2], [True, True]), ONE)[0])
    assert summarise(np.array([np.nan, 1.0]), 5) is None
    assert summarise(np.array([0.5, 1.0, 2.0]), 1) == Estimate(0.5)


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
        assert measured is not None
        assert measured.low is not None
        assert measured.high is not None
        covered += measured.low <= 0 <= measured.high
    assert 52 <= covered <= 60
