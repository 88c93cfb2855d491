"""The rules that experiments bring along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cepo.credit.rules import Credit, Inputs, Knobs, Rule, get_method
from cepo.credit.rules.cepo import assign_cepo
from cepo.runs.method_files import run_method_files

RULES = Path(__file__).parents[2] / "experiments" / "rules"


pytestmark = pytest.mark.usefixtures("own_registrations")

MASK = (torch.arange(7) < torch.tensor([7, 5, 1, 3])[:, None]).int()
ADVANTAGE = torch.tensor([1.5, -0.5, 0.0, -2.0])


def rule(file: str, name: str) -> Callable[[Inputs], Credit]:
    run_method_files([str(RULES / file)])
    return assign_of(name)


def assign_of(name: str) -> Callable[[Inputs], Credit]:
    found = get_method(name)
    assert isinstance(found, Rule)
    assert found.assign is not None
    return found.assign


def given(knobs: Knobs) -> Inputs:
    torch.manual_seed(0)
    plus, minus = torch.randn(2, 4, 7)
    return Inputs("any", ADVANTAGE, MASK, knobs, {"plus": plus, "minus": minus})


def test_normalised_moves_credit_and_keeps_its_sum() -> None:
    inputs = given(Knobs(1.0, 0.9))
    credit = rule("normalised.py", "cepo-normalised")(inputs)
    unscaled = assign_cepo(inputs)
    whole = ADVANTAGE * MASK.sum(1)
    torch.testing.assert_close((credit.advantage_BT * MASK).sum(1), whole)
    assert not torch.allclose((unscaled.advantage_BT * MASK).sum(1), whole, atol=0.1)
    assert bool((credit.advantage_BT * ADVANTAGE[:, None] * MASK >= 0).all())
    ratio = (credit.advantage_BT / unscaled.advantage_BT)[0]
    torch.testing.assert_close(ratio, ratio[:1].expand(7))
    assert torch.equal(credit.evidence_BT, unscaled.evidence_BT)
