"""What both warm starts share: kinds of batches in their shares, a schedule, a loss in which fillers count less."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch

from cepo.lab.noisy import draw_kind, learning_rate, weighted_loss


def test_kinds_come_in_their_shares() -> None:
    rng = Random(0)
    counts = Counter(draw_kind(rng, answer_share=0.2, rationale_share=0.5) for _ in range(2000))
    assert counts["answer"] / 2000 == pytest.approx(0.2, abs=0.03)
    assert counts["rationale"] / 2000 == pytest.approx(0.5, abs=0.03)
    assert counts["plain"] / 2000 == pytest.approx(0.3, abs=0.03)


def test_the_rate_rises_and_falls_to_a_fiftieth() -> None:
    rates = [learning_rate(step, 100, 1.0, warm_up=10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[100] == pytest.approx(0.02)


def test_fillers_count_less_and_prompts_nothing() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 1] = 5.0  # sure of token 1, a filler: its loss is small
    targets = torch.tensor([[1, 2, -100]])
    losses = torch.nn.functional.cross_entropy(logits[0, :2], targets[0, :2], reduction="none")
    found = weighted_loss(logits, targets, torch.tensor([1]), 0.1)
    assert found.item() == pytest.approx(((0.1 * losses[0] + losses[1]) / 1.1).item())
