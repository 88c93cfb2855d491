"""Figures: right by a second calculation, split for ever, named by a key."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from cepo.errors import DataError
from cepo.figures.policy import Confusions
from cepo.figures.problems import LENGTHS, SPLITS, Figure, figures, generate, split_of
from cepo.figures.relations import FULL, KINDS, Step

BY_HAND = {
    "line": lambda v, b: 180 - v,
    "corner": lambda v, b: 90 - v,
    "turn": lambda v, b: 360 - v,
    "circle": lambda v, b: 2 * v,
    "triangle": lambda v, b: 180 - v - b,
    "whole": lambda v, b: v + b,
    "part": lambda v, b: v - b,
}


def test_angles_are_those_of_plain_geometry() -> None:
    assert set(BY_HAND) == set(KINDS)
    for figure in generate("train", 300):
        value = figure.start
        for step, found in zip(figure.steps, figure.work().values, strict=True):
            value = BY_HAND[step.kind](value, step.given)
            assert found == value  # no right way needs to count modulo 360
            assert 10 <= value <= (350 if step.kind == "turn" else 170)
        assert figure.answer == value


def test_lengths_take_turns() -> None:
    assert [figure.length for figure in generate("held_out", 10)] == [*LENGTHS, *LENGTHS]


def test_a_key_is_its_figure() -> None:
    for figure in generate("validation", 50):
        assert Figure.parse(figure.key) == figure
    assert Figure.parse("40>line>triangle:30").work().values == (140, 10)
    for wrong in (
        "40",
        "40>",
        ">line",
        "40>lines",
        "40>line:30",
        "40>part",
        "45>line",
        "040>line",
        "40>part:90",
        "7+3",
    ):
        with pytest.raises(DataError, match="is no figure"):
            Figure.parse(wrong)


def test_splits_share_no_figure_and_keep_their_shares() -> None:
    found = {split: {figure.key for figure in generate(split, 1000, seed=3)} for split in SPLITS}
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["held_out"]
    assert not found["validation"] & found["held_out"]
    assert all(split_of(key) == split for split, keys in found.items() for key in keys)
    shares = [
        split_of(f"{start}>part:{given}>line>turn") for start in range(10, 180, 10) for given in range(10, 90, 10)
    ]
    assert 0.7 < shares.count("train") / len(shares) < 0.9


def test_equal_seeds_give_equal_figures() -> None:
    assert generate("train", 20, seed=2) == generate("train", 20, seed=2)
    assert generate("train", 20, seed=2) != generate("train", 20, seed=3)
    with pytest.raises(DataError, match="figures has no split 'test'"):
        generate("test", 1)


def test_the_policy_confuses_its_cases_as_often_as_it_says() -> None:
    policy, rng = Confusions(seed=1), Random(0)
    of_kind = {kind: {angle for name, angle in policy.confused if name == kind} for kind in KINDS}
    assert {kind: len(angles) for kind, angles in of_kind.items()} == {
        kind: 4 if KINDS[kind].gives else 18 for kind in KINDS
    }
    given = next(iter(of_kind["part"]))
    figure = Figure(160, (Step("part", given),))
    results = [policy.work(figure, rng).values[0] for _ in range(2000)]
    assert set(results) == {160 - given, 160 + given}
    assert results.count(160 + given) / 2000 == pytest.approx(policy.wrong, abs=0.05)
    other = next(angle for angle in range(10, 90, 10) if angle not in of_kind["part"])
    assert policy.work(Figure(160, (Step("part", other),)), rng).values == (160 - other,)


def test_a_told_way_is_followed_while_on_its_track() -> None:
    policy, rng = Confusions(share=0.0), Random(0)
    figure = Figure.parse("40>line>whole:20")
    told = figure.work([KINDS["line"].confused[0], KINDS["whole"].confused[0]])
    ways = [policy.work(figure, rng, told, follow=0.9).values for _ in range(1000)]
    assert told.values == (320, 300)
    assert sum(way[0] == 320 for way in ways) / 1000 == pytest.approx(0.9, abs=0.04)
    assert {way for way in ways if way[0] == 140} == {(140, 160)}  # off the track it works by itself


def test_wrong_ways_stay_within_a_full_turn() -> None:
    policy, rng = Confusions(share=1.0, wrong=0.9), Random(0)
    for figure in islice(figures("train", 0), 100):
        assert all(0 <= value < FULL for value in policy.work(figure, rng).values)
