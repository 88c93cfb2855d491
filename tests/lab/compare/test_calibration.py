"""Whether a comparison may be used for claims, and what a method's controls leave of its gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from cepo.lab.compare.calibration import Calibration, calibrate
from cepo.lab.compare.learning import area_lines, learning_table, steps_table
from cepo.lab.compare.races import races
from cepo.lab.tables import markdown
from tests.lab.compare.conftest import learning_results

NOISE = (0.00, 0.02, -0.02, 0.01, -0.01, 0.015)


def around(end: float, seeds: int = 5, noise: float = 1.0) -> list[list[float]]:
    """Final accuracies around `end`, each seed with luck of its own, which another `noise` does not share."""
    return [[end + noise * NOISE[(index * (3 if noise != 1.0 else 1)) % 6]] for index in range(seeds)]


def calibrated(
    arms: Mapping[str, Sequence[Sequence[float]]], controls: Mapping[str, tuple[str, ...]] | None = None
) -> Calibration:
    named = {name: "oracle" for name in arms if name.startswith("oracle")}
    named |= {name: "control" for name in arms if "+" in name}
    return calibrate(learning_results(arms, roles=named, controls=controls))


def test_an_oracle_that_separates_gives_power() -> None:
    found = calibrated({"grpo": around(0.5), "oracle": around(0.7, noise=-0.5), "cepo": around(0.5, noise=-0.5)})
    assert found.claims is True
    assert found.words.startswith("This bed has power for claims: oracle (+9.9 [+")
    assert found.words.endswith("points of area) is above grpo, at 5 seeds.")
    assert found.sources == ()


@pytest.mark.parametrize("end", [0.5, 0.51, 0.3])
def test_an_oracle_that_does_not_separate_leaves_no_claims(end: float) -> None:
    """Level with the baseline, above within its noise, or below it: it is no use that a method is far above."""
    found = calibrated({"grpo": around(0.5), "oracle": around(end, noise=-2.0), "cepo": around(0.9)})
    assert found.claims is False
    assert found.words.startswith("This bed has no power for claims: oracle (")
    assert (
        "is not shown above grpo. Where credit from a solver does not separate, no method's credit can." in found.words
    )


def test_fewer_than_five_seeds_have_no_power_yet() -> None:
    arms = {"grpo": around(0.5, 4), "oracle": around(0.9, 4)}
    found = calibrated(arms)
    assert found.claims is False
    assert found.words == "This bed has no power for claims yet: 4 seeds of oracle, and 5 are needed."
    assert calibrated({name: around(values[0][0]) for name, values in arms.items()}).claims is True


def test_without_an_oracle_power_is_unknown() -> None:
    found = calibrated({"grpo": around(0.5), "cepo": around(0.9)})
    assert found.claims is None
    assert found.words == (
        "The power of this comparison is unknown: it has no oracle arm. That no difference is shown says nothing "
        "of the methods."
    )
    assert found.to_dict()["claims"] is None


def test_one_of_several_oracles_is_enough_and_is_corrected_for_their_number() -> None:
    arms = {"grpo": around(0.5), "oracle-1": around(0.5, noise=-1.5), "oracle-2": around(0.8)}
    found = calibrated(arms)
    assert found.claims is True
    assert "oracle-2" in found.words
    assert "oracle-1" not in found.words
    alone = calibrated({name: values for name, values in arms.items() if name != "oracle-1"})
    (one,) = alone.against
    assert one.p_holm == one.verdict.p if one.verdict else False


def test_methods_are_not_corrected_for_what_calibrates_them() -> None:
    arms = {"grpo": around(0.5), "cepo": around(0.53, noise=-1.2), "oracle": around(0.6, noise=-1.5)}
    arms["cepo+mass"] = around(0.51, noise=-1.7)
    by_arm = {one.arm: one for one in calibrated(arms, {"cepo": ("cepo+mass",)}).against}
    assert all(one.verdict is not None and one.p_holm == one.verdict.p for one in by_arm.values())


def test_a_gain_is_the_evidence_s_only_above_every_control() -> None:
    arms = {"grpo": around(0.5), "cepo": around(0.7), "cepo+permuted": around(0.5, noise=-0.5)}
    controls = {"cepo": ("cepo+permuted",)}
    (sentence,) = calibrated(arms, controls).sources
    assert sentence.startswith("cepo is above grpo, and above each of its own controls: cepo+permuted (+10.1 [")
    arms |= {"cepo+mass": around(0.7, noise=-2.0)}
    (sentence,) = calibrated(arms, {"cepo": ("cepo+permuted", "cepo+mass")}).sources
    assert sentence.startswith("cepo is above grpo, but not shown above its own control cepo+mass (")
    assert "cepo+permuted" not in sentence
    (sentence,) = calibrated({"grpo": around(0.5), "cepo": around(0.7)}).sources
    assert sentence == "cepo has no controls: whether its gain over grpo is better credit or less of it is not known."


def test_the_table_has_each_method_beside_its_controls_and_the_oracle() -> None:
    arms = {"grpo": around(0.5), "rlsd": around(0.5), "cepo": around(0.7), "oracle": around(0.8), "loose": around(0.6)}
    arms |= {"rlsd+mass": around(0.5), "cepo+mass": around(0.6, noise=-0.5)}
    results = learning_results(
        arms,
        roles={"oracle": "oracle", "loose": "control", "rlsd+mass": "control", "cepo+mass": "control"},
        controls={"rlsd": ("rlsd+mass",), "cepo": ("cepo+mass",)},
    )
    table = learning_table(results, calibrate(results))
    order = ["grpo", "oracle", "rlsd", "rlsd+mass", "cepo", "cepo+mass", "loose"]
    assert list(table[""]) == order
    assert list(table["role"]) == ["baseline", "oracle", "method", "control", "method", "control", "control"]
    rows = {row[""]: row for row in table.to_dict("records")}
    assert rows["cepo"]["less grpo's"].startswith("+10.0 [")
    assert rows["cepo+mass"]["its method less this control"].startswith("+5.1 [")
    assert (rows["grpo"]["less grpo's"], rows["cepo"]["its method less this control"]) == ("", "")
    assert rows["grpo"]["area"].startswith("37.5 ±")
    steps = steps_table(results, races(results, 0.5))
    assert list(steps[""]) == order
    assert all(line.count("|") == 7 for line in markdown(steps))
    (grpo, *_) = area_lines(results)
    assert (grpo["arm"], grpo["role"], grpo["values"]) == (
        "grpo",
        "baseline",
        pytest.approx([(0.25 + 0.5 + noise) / 2 for noise in NOISE[:5]]),
    )
