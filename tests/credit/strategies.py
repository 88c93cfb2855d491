"""Hypothesis draws of small batches, in float64 unless a test asks for less."""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

ADVANTAGE = st.one_of(st.just(0.0), st.floats(0.01, 4.0), st.floats(-4.0, -0.01))
"""Either sign, and exactly 0."""

LOGP = st.one_of(st.floats(-40.0, 0.0), st.just(-math.inf))
"""A log-prob in nats, including that of an impossible token."""

EVIDENCE = st.one_of(st.floats(-3.0, 3.0), st.sampled_from([0.0, math.inf, -math.inf, 1e4, -1e4]))
"""Mostly of the clip's order of magnitude, with every extreme."""

STRENGTH = st.floats(0.0, 1.0)
CLIP = st.floats(0.01, 0.99)


@dataclass(frozen=True)
class Batch:
    """Everything that credit depends on."""

    advantage_B: Tensor
    plus_BT: Tensor
    minus_BT: Tensor
    evidence_BT: Tensor
    mask_BT: Tensor
    strength: float
    clip: float

    def args(self) -> tuple[Tensor, Tensor, Tensor, float, float]:
        """What `multiplier` and `modulate` take."""
        return self.advantage_B, self.evidence_BT, self.mask_BT, self.strength, self.clip


@st.composite
def batches(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Batch:
    rows, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def grid(element: st.SearchStrategy) -> Tensor:
        line = st.lists(element, min_size=tokens, max_size=tokens)
        return torch.tensor(draw(st.lists(line, min_size=rows, max_size=rows)))

    def floats(element: st.SearchStrategy[float]) -> Tensor:
        return grid(element).to(dtype)

    advantage_B = torch.tensor(draw(st.lists(ADVANTAGE, min_size=rows, max_size=rows)), dtype=dtype)
    mask_dtype = draw(st.sampled_from([torch.bool, torch.int64, torch.float32]))
    return Batch(
        advantage_B=advantage_B,
        plus_BT=floats(LOGP),
        minus_BT=floats(LOGP),
        evidence_BT=floats(EVIDENCE),
        mask_BT=grid(st.booleans()).to(mask_dtype),
        strength=draw(STRENGTH),
        clip=draw(CLIP),
    )
