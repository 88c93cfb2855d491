"""Paired differences against numbers worked out by hand, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cepo.lab.compare.contrasts import Contrast, arm_contrasts, base_contrasts, in_words
from cepo.lab.compare.results import Results
from cepo.stats import Difference, crossed_difference
from tests.lab.compare.conftest import made_results

ZEROS = [0.0, 0.0, 0.0]
ARM = [[0.1, 0.2, 0.3], [0.2, 0.4, 0.3]]
T1, T2 = 12.7062047362, 4.3026527297
"""97.5% quantiles of Student's distribution with one and two degrees of freedom."""


def test_by_hand() -> None:
    """Per seed 0.2 and 0.3; per problem 0.15, 0.3, 0.3; crossed: variance (0.015 + 0.015 - 0.005) / 6, 1 degree."""
    (contrast,) = arm_contrasts(made_results({"grpo": [ZEROS, ZEROS], "cepo": ARM}))
    assert (contrast.arm, contrast.other) == ("cepo", "grpo")
    for difference, half in (
        (contrast.seeds, T1 * 0.05),
        (contrast.problems, T2 * 0.05),
        (contrast.both, T1 * math.sqrt(0.025 / 6)),
    ):
        assert difference is not None
        assert difference[:3] == pytest.approx((0.25, 0.25 - half, 0.25 + half), rel=1e-6)
    assert contrast.seeds is not None
    assert contrast.seeds.p == pytest.approx(1 - 2 / math.pi * math.atan(5))
    assert contrast.verdict is contrast.both
    (back,) = arm_contrasts(made_results({"cepo": ARM, "grpo": [ZEROS, ZEROS]}))
    assert back.verdict is not None
    assert back.verdict.mean == pytest.approx(-0.25)


def test_seeds_are_paired_with_seeds_and_problems_with_problems() -> None:
    """The same shift at every seed and problem is certain, however much seeds and problems vary."""
    grpo = [[0.0, 0.5, 0.25], [0.75, 0.25, 0.5]]
    cepo = [[value + 0.25 for value in row] for row in grpo]
    (contrast,) = arm_contrasts(made_results({"grpo": grpo, "cepo": cepo}))
    assert contrast.both == (0.25, 0.25, 0.25, 0.0)


def test_holm_is_over_the_arms_compared() -> None:
    arms = {"grpo": [ZEROS, ZEROS], "a": ARM, "b": [[0.1, 0.0, 0.0], [0.0, 0.0, 0.1]]}
    a, b = arm_contrasts(made_results(arms))
    assert a.verdict is not None
    assert b.verdict is not None
    assert a.verdict.p < b.verdict.p
    assert a.p_holm == pytest.approx(min(1.0, 2 * a.verdict.p))
    assert b.p_holm == pytest.approx(max(b.verdict.p, 2 * a.verdict.p))


def test_pictures_of_the_same_numbers_are_one_problem() -> None:
    """Four rows, two clusters: the interval is that of two values, not of four."""
    results = made_results({"grpo": [[0.0] * 4] * 2, "cepo": [[0.4, 0.4, 0.0, 0.0], [0.4, 0.4, 0.2, 0.2]]})
    runs = {
        key: replace(
            run,
            outcomes={
                step: replace(outcome, clusters=dict(zip(outcome.correct, "xxyy", strict=True)))
                for step, outcome in run.outcomes.items()
            },
        )
        for key, run in results.runs.items()
    }
    (contrast,) = arm_contrasts(replace(results, runs=runs))
    assert contrast.both == pytest.approx(crossed_difference([[0.4, 0.0], [0.4, 0.2]]))
    assert contrast.problems is not None
    assert contrast.problems.high == pytest.approx(0.25 + T1 * 0.15)


def test_a_missing_run_is_not_averaged_away() -> None:
    results = made_results({"grpo": [ZEROS, None], "cepo": ARM, "rlsd": [None, ZEROS]}, base=ZEROS)
    cepo, rlsd = arm_contrasts(results)
    assert (cepo.verdict, cepo.p_holm, cepo.why_missing) == (None, None, "runs of grpo are missing")
    assert rlsd.why_missing == "runs of rlsd and grpo are missing"
    grpo, cepo, _ = base_contrasts(results)
    assert grpo.why_missing == "runs of grpo are missing"
    assert cepo.verdict is not None
    assert cepo.p_holm == pytest.approx(cepo.verdict.p)


def test_one_seed_speaks_of_problems_alone() -> None:
    (contrast,) = arm_contrasts(made_results({"grpo": [ZEROS], "cepo": ARM[:1]}))
    assert (contrast.seeds, contrast.both) == (None, None)
    assert contrast.verdict is contrast.problems
    assert "One seed" in in_words(contrast)


def test_no_base_and_no_second_problem() -> None:
    assert [c.why_missing for c in base_contrasts(made_results({"grpo": [ZEROS, ZEROS]}))] == [
        "runs of base are missing"
    ]
    (contrast,) = arm_contrasts(made_results({"grpo": [[0.0], [0.0]], "cepo": [[1.0], [1.0]]}))
    assert contrast.why_missing == "a paired test needs at least two problems"


def test_evaluations_of_other_problems_are_refused() -> None:
    results: Results = made_results({"grpo": [ZEROS, ZEROS], "cepo": [[0.0, 1.0], [0.0, 1.0]]})
    with pytest.raises(ValueError, match="not of the same problems"):
        arm_contrasts(results)


@pytest.mark.parametrize(
    ("difference", "p_holm", "sentence"),
    [
        (
            Difference(0.012, 0.003, 0.021, 0.011),
            0.011,
            "cepo is above grpo by 1.2 points [+0.3, +2.1] (p = 0.011).",
        ),
        (
            Difference(-0.05, -0.08, -0.02, 0.002),
            0.008,
            "cepo is below grpo by 5.0 points [-8.0, -2.0] (p = 0.002, 0.008 after Holm).",
        ),
        (
            Difference(-0.05, -0.08, -0.02, 0.0),
            0.0001,
            "cepo is below grpo by 5.0 points [-8.0, -2.0] (p < 0.001, <0.001 after Holm).",
        ),
        (
            Difference(0.002, -0.010, 0.014, 0.7),
            0.9,
            "no difference shown between cepo and grpo: +0.2 points, and the interval [-1.0, +1.4] holds 0 "
            "(p = 0.7, 0.9 after Holm).",
        ),
        (
            Difference(0.012, 0.001, 0.023, 0.04),
            0.16,
            "cepo is above grpo by 1.2 points [+0.1, +2.3] (p = 0.04, 0.16 after Holm). It does not survive the "
            "correction for the number of comparisons.",
        ),
        (
            Difference(0.0, 0.0, 0.0, 1.0),
            1.0,
            "no difference shown between cepo and grpo: +0.0 points, and the interval [+0.0, +0.0] holds 0 (p = 1).",
        ),
    ],
)
def test_words(difference: Difference, p_holm: float, sentence: str) -> None:
    assert in_words(Contrast("cepo", "grpo", both=difference, p_holm=p_holm)) == sentence


def test_words_of_nothing() -> None:
    said = in_words(Contrast("cepo", "grpo", why_missing="runs of cepo are missing"))
    assert said == "nothing can be said of cepo and grpo: runs of cepo are missing."
