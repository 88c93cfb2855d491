"""Labelled measures: planted evidence is found, shuffled evidence is not, and signs are judged as defined."""

import numpy as np
import pytest

from cepo.glossary import Rollout
from cepo.lab.audit.labelled import MEASURES, PROFILE_BINS, gather_tokens, measure_tokens, profile
from cepo.lab.audit.metrics import resamples
from cepo.lab.audit.targets import Target, TokenLabels

ONE = np.ones((1, 1))
NAN = pytest.approx(float("nan"), nan_ok=True)


def target(decisive, right, wrong_from=None, problem=0):
    text = "x" * len(decisive)
    chars = tuple((t, t + 1) for t in range(len(decisive)))
    labels = TokenLabels(np.array(decisive, dtype=bool), wrong_from)
    rollout = Rollout(text, "1", right, float(right))
    return Target(problem, tuple(range(len(decisive))), text, chars, rollout, labels, truncated=False)


def measured(targets, evidence, weight_RP=ONE, clip=0.5):
    arrays = [np.array(values, dtype=float) for values in evidence]
    return {name: value[0] for name, value in measure_tokens(arrays, gather_tokens(targets), weight_RP, clip).items()}


def test_by_hand_on_one_right_and_one_wrong_rollout():
    right = target([0, 1, 1, 0], right=True)
    wrong = target([0, 1, 1, 1], right=False, wrong_from=2)
    # Log-weights are clipped to [log 0.5, log 1.5] = [-0.693, 0.405].
    found = measured([right, wrong], [[0.1, 0.6, -0.2, 0.0], [-0.1, 0.3, -0.3, 0.2]])
    assert set(found) == set(MEASURES)
    assert found["decisive_share"] == 5 / 8
    assert found["contrast"] == pytest.approx(((0.6 + 0.2 + 0.3 + 0.3 + 0.2) / 5) / ((0.1 + 0.0 + 0.1) / 3))
    assert found["saturation_filler"] == 0.0
    assert found["saturation_decisive"] == 1 / 5
    assert found["silent_filler"] == 1 / 3
    assert found["sign_right"] == 1 / 2
    assert found["mass_right"] == pytest.approx(np.log(1.5) / (np.log(1.5) + 0.2))
    assert found["sign_wrong"] == 1 / 2  # tokens 2 and 3
    assert found["mass_wrong"] == pytest.approx(0.3 / 0.5)
    assert found["sign_first_wrong"] == 1.0  # token 2
    assert found["blame_before"] == 0.0  # token 1, praised
    first, others = np.exp(0.3), (np.exp(0.1) + np.exp(-0.3) + np.exp(-0.2)) / 3
    assert found["error_focus"] == pytest.approx(first - others)


def test_zero_evidence_says_nothing_about_signs():
    found = measured([target([1, 1], right=True)], [[0.0, 0.2]])
    assert found["sign_right"] == 1.0
    found = measured([target([1, 1], right=True)], [[0.0, 0.0]])
    assert found["sign_right"] == NAN
    assert found["mass_right"] == NAN


def planted(rng, problems=30, length=40):
    """Rollouts of many problems with decisive tokens at random, right and wrong in turn."""
    targets = []
    for problem in range(problems):
        decisive = rng.random(length) < 0.4
        right = problem % 2 == 0
        targets.append(target(decisive, right, None if right else 0, problem))
    return targets


def test_planted_evidence_is_found_and_shuffled_evidence_is_not():
    rng = np.random.default_rng(0)
    targets = planted(rng)
    sign = [1.0 if one.right else -1.0 for one in targets]
    evidence = [
        s * one.labels.decisive_T * 0.3 + 0.05 * rng.normal(size=40) for s, one in zip(sign, targets, strict=True)
    ]
    weight_RP = resamples(30, 200, seed=0)
    found = measured(targets, evidence, weight_RP)
    assert found["auroc"] > 0.99
    assert found["ap"] > 0.99
    assert found["contrast"] > 5
    assert found["sign_right"] > 0.99
    assert found["sign_wrong"] > 0.99
    shuffled = measured(targets, [rng.permutation(values) for values in evidence], weight_RP)
    assert shuffled["auroc"] == pytest.approx(0.5, abs=0.05)
    assert shuffled["ap"] == pytest.approx(shuffled["decisive_share"], abs=0.05)
    assert shuffled["contrast"] == pytest.approx(1.0, abs=0.2)
    turned = measured(targets, [-values for values in evidence], weight_RP)
    assert turned["auroc"] == found["auroc"]  # |Delta| does not see the sign
    assert turned["sign_right"] == pytest.approx(1 - found["sign_right"])
    assert turned["mass_wrong"] < 0.01


def test_profile_takes_means_by_position():
    one = target([1, 0] * 10, right=True)
    evidence = np.repeat(np.arange(PROFILE_BINS), 2) * -1.0
    bins = profile([evidence], gather_tokens([one]), ONE)
    assert [value["all"][0] for value in bins] == list(range(PROFILE_BINS))
    assert bins[3]["decisive"][0] == bins[3]["filler"][0] == 3.0


def test_targets_without_labels_are_refused():
    plain = target([1], right=True)
    bare = Target(4, (1,), "text", ((0, 4),), plain.rollout, None, truncated=False)
    with pytest.raises(ValueError, match="problem 4"):
        gather_tokens([plain, bare])


def test_nothing_labelled_measures_nothing():
    found = measure_tokens([], gather_tokens([]), ONE, 0.5)
    assert all(np.isnan(value).all() for value in found.values())
