"""The rules that experiments bring along."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cepo.training.method_files import run_method_files
from cepo.training.methods import METHODS, Knobs, TeacherLogps, assign_cepo, get_method

RULES = Path(__file__).parents[1] / "experiments" / "rules"


def test_normalised_moves_credit_and_keeps_its_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.training.methods.METHODS", dict(METHODS))
    run_method_files([str(RULES / "normalised.py")])
    rule = get_method("cepo-normalised").assign
    assert rule is not None
    torch.manual_seed(0)
    plus, minus = torch.randn(2, 4, 7)
    mask = (torch.arange(7) < torch.tensor([7, 5, 1, 3])[:, None]).int()
    advantage = torch.tensor([1.5, -0.5, 0.0, -2.0])
    logps, knobs = TeacherLogps(plus, minus, torch.zeros(4, 7)), Knobs(1.0, 0.9)
    credit, unscaled = rule(advantage, logps, mask, knobs), assign_cepo(advantage, logps, mask, knobs)
    lengths = mask.sum(1)
    given = (credit.advantage_BT * mask).sum(1)
    torch.testing.assert_close(given, advantage * lengths)
    assert not torch.allclose((unscaled.advantage_BT * mask).sum(1), advantage * lengths, atol=0.1)
    assert bool((credit.advantage_BT * advantage[:, None] * mask >= 0).all())
    ratio = (credit.advantage_BT / unscaled.advantage_BT)[0]
    torch.testing.assert_close(ratio, ratio[:1].expand(7))
    assert torch.equal(credit.evidence_BT, unscaled.evidence_BT)
