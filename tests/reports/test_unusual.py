"""What a report calls unusual: each seen where it is, and nothing where it is not."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from cepo.reports.unusual import PAGE, unusual

STEPS = 60


def logged(**series: list[float]) -> dict[str, list[list[float]]]:
    names = {"pos": "credit/evidence_abs_mean_pos", "neg": "credit/evidence_abs_mean_neg", "null": "credit/null_p90"}
    names |= {"low": "credit/clip_low", "high": "credit/clip_high", "undecided": "credit/groups_undecided"}
    return {names.get(name, name): [[s, v] for s, v in enumerate(values, 1)] for name, values in series.items()}


def noisy(start: float, end: float, spread: float = 0.2, count: int = STEPS) -> list[float]:
    rng = Random(0)
    return [start + (end - start) * i / count + rng.uniform(-spread, spread) for i in range(count)]


SOUND = logged(
    reward=noisy(0.3, 0.8), undecided=noisy(0.2, 0.4), pos=noisy(0.2, 0.1, 0.05), neg=noisy(0.8, 0.8), null=[0.3] * 6,
    low=[0.1] * STEPS, high=[0.3] * STEPS, entropy=noisy(1.0, 0.6),
)  # fmt: skip


def names(**changed: list[float]) -> list[str]:
    return [remark.name for remark in unusual(SOUND | logged(**changed))]


def test_a_sound_run_and_one_that_has_hardly_begun_are_not_unusual() -> None:
    assert names() == []
    assert unusual({}) == []
    bad = logged(reward=[0.1] * 10, undecided=[1.0] * 10, low=[1.0] * 10, entropy=[1.0, *[0.0] * 9], null=[9.0])
    assert unusual(bad) == []


@pytest.mark.parametrize(
    ("changed", "name", "numbers"),
    [
        ({"reward": noisy(0.4, 0.4)}, "Reward flat", ["of 60 logged"]),
        ({"reward": noisy(0.8, 0.2)}, "Reward flat", ["0.7", "0.3"]),
        ({"undecided": noisy(0.2, 1.0, 0.0)}, "Groups undecided", ["86%"]),
        ({"neg": [0.2] * STEPS}, "Evidence at the null floor", ["0.200", "0.300"]),
        ({"low": [0.45] * STEPS, "high": [0.5] * STEPS}, "Clip saturated", ["95%"]),
        ({"entropy": noisy(1.0, 0.1, 0.0)}, "Entropy falling", ["0.93", "0.1"]),
    ],
)
def test_each_is_seen_alone_with_its_numbers(changed: dict[str, list[float]], name: str, numbers: list[str]) -> None:
    (remark,) = unusual(SOUND | logged(**changed))
    assert remark.name == name
    assert all(number in remark.says for number in numbers), remark.says


def test_grpo_has_its_own_word_for_groups_that_teach_nothing() -> None:
    assert [one.name for one in unusual({"frac_reward_zero_std": [[s, 0.9] for s in range(30)]})] == [
        "Groups undecided"
    ]


def test_the_present_counts_and_not_the_past() -> None:
    assert names(undecided=[1.0] * 40 + [0.1] * 20) == []
    assert names(undecided=[0.1] * 40 + [1.0] * 20) == ["Groups undecided"]


def test_each_has_a_paragraph_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / PAGE).read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)}
    every = unusual(
        logged(reward=[0.5] * STEPS, undecided=[1.0] * STEPS, pos=[0.0] * STEPS, null=[0.1], low=[1.0] * STEPS)
        | logged(entropy=[1.0] * 30 + [0.0] * 30)
    )
    assert len(every) == 5
    assert {remark.anchor for remark in every} <= anchors
