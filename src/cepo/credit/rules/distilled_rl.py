"""Distilled RL (arXiv 2607.17247, second-hand): praise by what the teacher finds likelier, its geometric mean kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cepo.credit.masked import masked_mean
from cepo.credit.rules.rule import STUDENT, Credit, Inputs, Rule, gain, weighed
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class DistilledRLOptions:
    """`ratio`: the largest P+ / P_S that counts, and 1 / ratio the smallest; 1 or more."""

    ratio: float = 3.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.ratio < float("inf"):
            raise SettingError(f"rule_options: ratio must be 1 or more, got {self.ratio}")


def assign_distilled_rl(inputs: Inputs) -> Credit:
    """A > 0: rho_t = clip(P+ / P_S, 1/3, 3), w_t = rho_t / geometric mean of the row's rho. A <= 0: w_t = 1. Then
    lambda.

    Source: arXiv 2607.17247, second-hand (the student's probability in the place of the old policy's: equal on
    policy). Credit moves between the tokens of right rows and is not made: their log-weights sum to 0, so that the
    geometric mean is 1 and the arithmetic one 1 or a little more. w in [1/9, 9]. Evidence: log P+ - log P_S, nats.
    Degenerate: P+ = P_S is GRPO, bit for bit.
    """
    bound, keep_BT = math.log(inputs.options(DistilledRLOptions).ratio), inputs.mask_BT.bool()
    evidence_BT = gain(inputs)
    log_BT = evidence_BT.clamp(-bound, bound)
    weight_BT = (log_BT - masked_mean(log_BT, keep_BT)).exp()
    return weighed(inputs, evidence_BT, torch.where(inputs.advantage_B[:, None] > 0, weight_BT, 1.0))


DISTILLED_RL = Rule(
    "distilled_rl",
    "arXiv 2607.17247, second-hand: right rows weighed by P+ / P_S over its geometric mean",
    ("plus", STUDENT),
    assign_distilled_rl,
    options=DistilledRLOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
