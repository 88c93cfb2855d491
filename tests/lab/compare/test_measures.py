"""Areas and steps of curves that are drawn by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cepo.lab.compare.contrasts import arm_contrasts, in_words
from cepo.lab.compare.measures import AREA, Curve, area_of, curve_of, final_target
from cepo.lab.compare.results import Outcome
from cepo.stats import crossed_difference
from tests.lab.compare.conftest import learning_results, made_outcome


def test_area_is_the_mean_height_of_the_curve_whatever_the_spacing() -> None:
    """Problem p0: (0 + 1)/2 * 10 + 1 * 30 = 35 of 40; p1: 0 * 10 + (0 + 0.5)/2 * 30 = 7.5 of 40; p2 is not shown."""
    outcomes = {0: made_outcome([0, 0, 1]), 10: made_outcome([1, 0, 1]), 40: made_outcome([1, 0.5, 1])}
    assert area_of(outcomes, 2) == pytest.approx({"p0": 0.875, "p1": 0.1875})
    assert area_of({0: made_outcome([0.5]), 7: made_outcome([0.5])}, 1) == pytest.approx({"p0": 0.5})


def test_a_longer_and_a_denser_run_of_the_same_line_has_the_same_area() -> None:
    def line(end: int, every: int) -> dict[int, Outcome]:
        return {step: made_outcome([step / end]) for step in range(0, end + 1, every)}

    assert {round(area_of(line(*shape), 1)["p0"], 12) for shape in ((10, 10), (10, 1), (40, 4))} == {0.5}


@pytest.mark.parametrize(
    ("target", "step"), [(0.2, 0.0), (0.3, 5.0), (0.4, 10.0), (0.5, 25.0), (0.6, 30.0), (0.61, None)]
)
def test_the_first_step_is_linear_between_evaluations(target: float, step: float | None) -> None:
    """0.2 at 0, 0.4 at 10, a fall to 0.3 at 20, 0.7 less a tenth at 30."""
    curve = Curve((0.0, 10.0, 20.0, 30.0), (0.2, 0.4, 0.4, 0.6))
    assert curve.first_step(target) == (None if step is None else pytest.approx(step))


def test_a_rise_after_a_fall_does_not_undo_the_first_crossing() -> None:
    assert Curve((0.0, 10.0, 20.0, 30.0), (0.0, 0.6, 0.1, 0.9)).first_step(0.3) == pytest.approx(5.0)


def test_long_curves_are_smoothed_and_reach_their_own_final_accuracy() -> None:
    values = [0.1 * index + (0.06 if index % 2 else 0.0) for index in range(13)]
    outcomes = {step: made_outcome([value]) for step, value in enumerate(values)}
    curve = curve_of(outcomes, 1)
    assert curve.accuracy[0] == values[0]
    assert curve.accuracy[5] == pytest.approx(sum(values[4:7]) / 3)
    assert curve.accuracy[-1] == pytest.approx(sum(values[-2:]) / 2)
    assert final_target(curve) == pytest.approx(sum(values[-3:]) / 3)
    assert curve.first_step(final_target(curve)) is not None
    del outcomes[12]
    short = curve_of(outcomes, 1)
    assert short.accuracy == tuple(values[:-1])
    assert final_target(short) == values[-2]


def test_area_is_compared_over_seeds_and_problems() -> None:
    """Areas by hand: grpo (0 + .5)/2 = 1/4 on both problems; cepo 1/2 and 1/4, and 1/2 and 1/2."""
    results = learning_results({"grpo": [[0.5], [0.5]], "cepo": [[1.0], [1.0]]}, base=0.0)
    runs = dict(results.runs)
    for seed, correct in enumerate(([1.0, 0.5], [1.0, 1.0])):
        runs["cepo", seed] = replace(runs["cepo", seed], outcomes={10: made_outcome(correct)})
        runs["grpo", seed] = replace(runs["grpo", seed], outcomes={10: made_outcome([0.5, 0.5])})
    (contrast,) = arm_contrasts(replace(results, runs=runs, shown=2, base=made_outcome([0.0, 0.0])), AREA)
    assert contrast.both == pytest.approx(crossed_difference([[0.25, 0.0], [0.25, 0.25]]))
    assert contrast.seeds is not None
    assert contrast.seeds.mean == pytest.approx(0.1875)
    assert contrast.to_dict()["measure"] == "area"
    assert "points of area" in in_words(contrast)


def test_without_the_untrained_model_there_is_no_area() -> None:
    (contrast,) = arm_contrasts(learning_results({"grpo": [[0.5]], "cepo": [[1.0]]}, base=None), AREA)
    assert contrast.verdict is None
