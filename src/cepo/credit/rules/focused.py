"""Focused: a row's advantage is shared out by how much each token's evidence agrees with the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cepo.credit.evidence import signed_evidence
from cepo.credit.masked import masked_mean, masked_sum
from cepo.credit.rules.rule import Credit, Inputs, Rule, contrast, weighed
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class FocusedOptions:
    """`cap`: largest weight; `least`: nats of agreeing evidence that a row needs in all to be shared out."""

    cap: float = 6.0
    least: float = 0.5

    def __post_init__(self) -> None:
        if not 1.0 <= self.cap < float("inf"):
            raise SettingError(f"rule_options: cap must be 1 or more, got {self.cap}")
        if not 0.0 < self.least < float("inf"):
            raise SettingError(f"rule_options: least must be above 0 nats, got {self.least}")


def assign_focused(inputs: Inputs) -> Credit:
    """w_t = min(cap, e_t / mean(e)), e_t = max(0, sign(A) Delta_t), Delta = log P+ - log P- in nats; then lambda.

    Ours. CEPO's weights are 1 on filler; here filler has none of the advantage, and lambda of it goes to the tokens
    on which verdict and evidence agree. Bound: 1 - lambda <= A_hat / A <= 1 + lambda (cap - 1); a row's mean weight is
    at most 1, and exactly 1 where the cap is not reached. Degenerate: a row whose e sums to less than `least` keeps A.
    Infinite evidence would take all and is not expected (rows that are not finite are left out before).
    """
    options, mask_BT = inputs.options(FocusedOptions), inputs.mask_BT.bool()
    delta_BT = contrast(inputs)
    agrees_BT = signed_evidence(inputs.advantage_B, delta_BT, mask_BT).clamp(min=0.0)
    enough_B1 = masked_sum(agrees_BT, mask_BT) >= options.least
    mean_B1 = torch.where(enough_B1, masked_mean(agrees_BT, mask_BT), 1.0)
    share_BT = (agrees_BT / mean_B1).clamp(max=options.cap)
    return weighed(inputs, delta_BT, torch.where(enough_B1, share_BT, 1.0))


FOCUSED = Rule(
    "focused",
    "ours: A shared out by the evidence that agrees with the verdict",
    ("plus", "minus"),
    assign_focused,
    options=FocusedOptions,
    defaults={"credit_strength": 0.9, "credit_schedule": "constant"},
)
