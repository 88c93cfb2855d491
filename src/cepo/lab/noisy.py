"""What the warm starts on noisy solutions share: their vocabulary, kinds of prompts, schedule and loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cepo.answers import BOXED
from cepo.credit.prompts import ANSWER_TEMPLATE, RATIONALE_TEMPLATE

__all__ = ["Kind", "NoisySettings", "draw_kind", "learning_rate", "vocabulary", "weighted_loss"]

Kind = Literal["plain", "answer", "rationale"]
"""A prompt that tells nothing, the answer that its solution reaches, or a whole other solution."""


@dataclass(frozen=True)
class NoisySettings:
    """What both warm starts depend on.

    A batch is of one kind, drawn with these shares (the rest is plain). A solution that was shown is followed with
    probability `follow` while on its track. Fillers, which are noise, count `filler_weight` in the loss.
    """

    seed: int = 0
    learning_rate: float = 3e-3
    filler_weight: float = 0.1
    answer_share: float = 0.2
    rationale_share: float = 0.25
    follow: float = 0.9


def vocabulary(words: Iterable[str]) -> list[str]:
    """Texts for a vocabulary: a bed's own words, the instruction, the words around references, the roles."""
    around = [template.replace("{reference}", "\ue000") for template in (ANSWER_TEMPLATE, RATIONALE_TEMPLATE)]
    pieces = [piece for template in around for piece in template.split("\ue000")]
    return [*words, BOXED.instruction, *pieces, "user\n", "assistant\n", "system\n"]


def draw_kind(rng: Random, answer_share: float, rationale_share: float) -> Kind:
    """The kind of a batch; what the shares leave is plain."""
    draw = rng.random()
    if draw < rationale_share:
        return "rationale"
    return "answer" if draw < rationale_share + answer_share else "plain"


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    rise = min(1.0, (step + 1) / warm_up)
    return peak * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def weighted_loss(logits: Tensor, targets: Tensor, fillers: Tensor, filler_weight: float) -> Tensor:
    """Mean cross entropy, nats; fillers count `filler_weight`.

    Args:
        logits: (B, T, V). targets: (B, T), -100 where nothing is to be learnt. fillers: ids of filler tokens.
    """
    wanted = targets.flatten()
    weights = torch.where(torch.isin(wanted, fillers), filler_weight, 1.0) * (wanted != -100)
    losses = F.cross_entropy(logits.flatten(0, 1), wanted, reduction="none", ignore_index=-100)
    return (losses * weights).sum() / weights.sum()
