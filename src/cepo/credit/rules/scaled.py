"""Weights by the sign of A alone: less blame, no better blame. The control that every rule has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cepo.credit.rules.rule import Credit, Inputs, Rule, weighed
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class ScaledOptions:
    """`praise`: weight of rows with A > 0; `blame`: of those with A < 0; 0 or more."""

    praise: float = 1.0
    blame: float = 0.54

    def __post_init__(self) -> None:
        for name in ("praise", "blame"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise SettingError(f"rule_options: {name} must be 0 or more, got {getattr(self, name)}")


def assign_scaled(inputs: Inputs) -> Credit:
    """A_hat_t = A ((1 - lambda) + lambda w), w = `praise` where A > 0, `blame` where A < 0.

    Ours, as a control: 0.54 is the mean weight of bounded oracle credit on wrong rollouts of the chain bed. Nothing is
    scored. Degenerate: both 1 is GRPO, bit for bit; A = 0 stays 0.
    """
    options, advantage_B1 = inputs.options(ScaledOptions), inputs.advantage_B[:, None]
    praise, blame = advantage_B1.new_tensor((options.praise, options.blame))
    weight_B1 = torch.where(advantage_B1 > 0, praise, blame)
    nothing_BT = torch.zeros_like(advantage_B1.expand(inputs.mask_BT.shape))
    return weighed(inputs, nothing_BT, weight_B1.expand(inputs.mask_BT.shape))


SCALED = Rule(
    "scaled",
    "ours, a control: rows weighed by the sign of A alone",
    assign=assign_scaled,
    options=ScaledOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
