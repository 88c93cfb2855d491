"""Steps to an accuracy, and what is said where a run does not get there."""

from __future__ import annotations

import math

import pytest

from cepo.lab.compare.races import Race, race_in_words, races
from cepo.lab.compare.results import Results
from cepo.stats import paired_ratio
from tests.lab.compare.conftest import learning_results

GRPO = [[0.35, 0.45, 0.55, 0.65], [0.30, 0.40, 0.50, 0.60], [0.35, 0.45, 0.55, 0.65]]
"""To 50%: 25, 30 and 25 steps of 40; final 0.65, 0.6, 0.65."""
FAST = [[0.45, 0.65, 0.85, 0.95], [0.35, 0.45, 0.65, 0.90], [0.55, 0.75, 0.85, 0.95]]
"""To 50%: 12.5, 22.5 and 25/3; to grpo's final: 20, 27.5 and 15."""


def run(results: Results, accuracy: float = 0.5) -> dict[tuple[str, str], Race]:
    return {(race.arm, race.target): race for race in races(results, accuracy)}


def test_steps_and_their_ratio_by_hand() -> None:
    found = run(learning_results({"grpo": GRPO, "fast": FAST}))
    grpo, fast = found["grpo", "50%"], found["fast", "50%"]
    assert grpo.steps == pytest.approx((25, 30, 25))
    assert fast.steps == pytest.approx((12.5, 22.5, 25 / 3))
    assert fast.ratio == pytest.approx(paired_ratio([12.5, 22.5, 25 / 3], [25, 30, 25]))
    assert fast.ratio is not None
    assert fast.ratio.mean == pytest.approx((0.5 * 0.75 / 3) ** (1 / 3))
    assert (grpo.ratio, grpo.bound, grpo.why_missing) == (None, None, None)
    final = found["fast", "grpo's final"]
    assert found["grpo", "grpo's final"].steps == pytest.approx((40, 40, 40))
    assert final.steps == pytest.approx((20, 27.5, 15))
    assert final.ratio_text() == "0.51 [0.24, 1.07]"
    assert race_in_words(final) == (
        "fast to grpo's final: no difference shown: 0.51 [0.24, 1.07] times grpo's steps, and the interval holds 1 "
        "(p = 0.06)."
    )


def test_a_seed_that_does_not_get_there_bounds_the_ratio_and_takes_the_interval() -> None:
    slow = [[0.30, 0.35, 0.40, 0.45], [0.30, 0.40, 0.45, 0.55], [0.25, 0.30, 0.35, 0.40]]
    race = run(learning_results({"grpo": GRPO, "slow": slow}))["slow", "50%"]
    assert race.steps == (None, pytest.approx(35), None)
    assert (race.steps_text(), race.ratio) == (f">= {115 / 3:.1f} (1 of 3)", None)
    bound = (40 / 25 * 35 / 30 * 40 / 25) ** (1 / 3)
    assert race.bound == (">=", pytest.approx(bound))
    assert race_in_words(race) == (
        f"slow to 50%: at least {bound:.2f} times grpo's steps: slow is not there by its end at every seed."
    )
    assert race.to_dict()["steps"] == (None, pytest.approx(35), None)
    back = run(learning_results({"slow": slow, "grpo": GRPO}))["grpo", "50%"]
    assert back.bound == ("<=", pytest.approx(1 / bound))
    assert "at most" in race_in_words(back)
    neither = run(learning_results({"slow": slow, "slower": [[0.3] * 4] * 3}))["slower", "50%"]
    assert (neither.steps_text(), neither.ratio_text()) == ("never", "n/a")
    assert "neither slower nor slow" in race_in_words(neither)


def test_more_steps_can_only_come_of_waiting_longer() -> None:
    """What a censored seed counts as is its least: the bound of the longer run is above that of the shorter."""
    bounds = []
    for length in (4, 8):
        flat = [[0.3] * length] * 2
        grpo = [[0.6] * length] * 2
        race = run(learning_results({"grpo": grpo, "flat": flat}))["flat", "50%"]
        assert race.bound is not None
        bounds.append(race.bound[1])
    assert bounds[1] == pytest.approx(2 * bounds[0])


def test_a_target_that_the_untrained_model_has_reached_has_no_ratio() -> None:
    found = run(learning_results({"grpo": [[0.2, 0.2]] * 2, "cepo": [[0.5, 0.6]] * 2}, base=0.3), 0.3)
    for target in ("30%", "grpo's final"):
        assert found["cepo", target].steps == (0.0, 0.0)
        assert found["cepo", target].ratio_text() == "n/a"
        assert "the untrained model is there already" in race_in_words(found["cepo", target])


def test_what_is_missing_is_said() -> None:
    (grpo, cepo, *_) = races(learning_results({"grpo": [[0.6]], "cepo": [[0.6]]}, base=None), 0.5)
    assert {grpo.why_missing, cepo.why_missing} == {"the untrained model was not evaluated"}
    assert cepo.steps_text() == "missing"
    one = run(learning_results({"grpo": [[0.6]], "cepo": [[0.75]]}))["cepo", "50%"]
    assert one.why_missing == "one seed has no interval"
    assert one.steps_text() == "5.0"
    assert math.isclose(one.steps[0] or 0, 5.0)
