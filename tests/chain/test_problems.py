"""Chains: right by a second calculation, split for ever, named by a path."""

from __future__ import annotations

from itertools import islice

import pytest

from cepo.chain.problems import SPLITS, Chain, ChainSpec, chains, generate, split_of
from cepo.errors import DataError


@pytest.mark.parametrize("steps", [1, 6, 12])
def test_values_are_those_of_plain_arithmetic(steps: int) -> None:
    for chain in islice(chains("train", 1, steps), 50):
        value = chain.start
        for step, found in zip(chain.operations, chain.values, strict=True):
            value = (value + step.operand) % 10 if step.sign == "+" else (value - step.operand) % 10
            assert found == value
        assert chain.answer == eval(chain.key) % 10
        assert len(chain.operations) == steps


def test_a_key_is_its_chain() -> None:
    for chain in islice(chains("held_out", 0, 4), 20):
        assert Chain.parse(chain.key) == chain
    assert Chain.parse("7+3-5").values == (0, 5)
    for wrong in ("7", "7+", "+3", "7+3-", "7*3", "17+3"):
        with pytest.raises(DataError, match="is no chain"):
            Chain.parse(wrong)


def test_splits_share_no_chain_and_keep_their_shares() -> None:
    found = {split: {chain.key for chain in islice(chains(split, 3, 3), 1000)} for split in SPLITS}
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["held_out"]
    assert not found["validation"] & found["held_out"]
    assert all(split_of(key) == split for split, keys in found.items() for key in keys)
    everything = [f"{a}+{b}-{c}" for a in range(10) for b in range(10) for c in range(10)]
    train = sum(split_of(key) == "train" for key in everything) / len(everything)
    assert 0.75 < train < 0.85


def test_equal_seeds_give_equal_chains() -> None:
    spec = ChainSpec(steps=5)
    assert generate("train", spec, 30, seed=2) == generate("train", spec, 30, seed=2)
    assert generate("train", spec, 30, seed=2) != generate("train", spec, 30, seed=3)
    assert generate("train", spec, 10, seed=2) == generate("train", spec, 30, seed=2)[:10]


def test_a_pool_of_problems_repeats() -> None:
    found = [chain.key for chain in generate("train", ChainSpec(steps=2, problems=7), 20)]
    assert len(set(found[:7])) == 7
    assert found[7:14] == found[:7]
    with pytest.raises(DataError, match="no 500 distinct chains of 1 steps"):
        generate("train", ChainSpec(steps=1, problems=500), 1)


def test_a_path_says_which_chains() -> None:
    assert ChainSpec.parse("chain") == ChainSpec(6, 3, None)
    assert ChainSpec.parse("chain:steps=12,fillers=1,problems=40") == ChainSpec(12, 1, 40)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("chain:step=3", "unknown field 'step'"),
        ("chain:steps=0", "steps must be 1 to 12, got 0"),
        ("chain:steps=13", "steps must be 1 to 12, got 13"),
        ("chain:fillers=7", "fillers must be 1 to 6, got 7"),
        ("chain:problems=0", "problems must be at least 1"),
        ("chain:steps=-1", "whole number, got '-1'"),
        ("chain:steps", "whole number, got ''"),
        ("chain:steps=2,steps=3", "given twice"),
    ],
)
def test_a_path_that_says_nonsense_is_refused(path: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        ChainSpec.parse(path)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="chain has no split 'test'"):
        generate("test", ChainSpec(), 1)
