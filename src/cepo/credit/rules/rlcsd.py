"""RLCSD (arXiv 2606.11709): evidence against several wrong answers, squashed and added to the advantage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cepo.credit.rules.rule import Credit, Inputs, Rule, added, contrast
from cepo.errors import SettingError

REACH = 2.0
"""Deviations that a token's shift never exceeds, as in the paper's code."""


@dataclass(frozen=True, slots=True)
class RLCSDOptions:
    """`tau`: nats at which the evidence is squashed; `beta`: times lambda, the largest shift, in deviations of A.

    `delta`: a shift of that size or less is none. `two_means`: a row's shifted tokens are a mean of their own, which
    counts `eta` times.
    """

    tau: float = 0.02
    beta: float = 1.0
    delta: float = 0.02
    two_means: bool = False
    eta: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.tau < float("inf"):
            raise SettingError(f"rule_options: tau must be above 0 nats, got {self.tau}")
        if min(self.beta, self.delta, self.eta) < 0.0:
            raise SettingError(
                f"rule_options: beta, delta and eta must be 0 or more, got {self.beta}, {self.delta} and {self.eta}"
            )


def assign_rlcsd(inputs: Inputs) -> Credit:
    """r_t = clip(beta lambda tanh(e_t / tau), -2, 2), e = log P+ - log mean_k P-_k in nats. Tokens with |r_t| > delta
    are selected: A_t = A + r_t, or 0 where that would turn the sign of A. The others keep A.

    Source: RLCSD, arXiv 2606.11709, and its released code; K <= 4 wrong answers by `reference_minus: marginal`.
    |A_t - A| <= min(beta lambda, 2) in deviations, whatever |A| is. At the paper's tau of 0.02 nearly every token is
    selected, filler too: |e| > 0.0008 nats is enough, and the null floor is higher; `evidence_dead_zone` takes it off.

    The paper's loss is the mean over unselected tokens plus eta times that over selected ones. `two_means` puts this
    into weights within each row of n tokens: n / n_unselected and eta n / n_selected. Its means are over a micro-batch,
    so this departs from it; a row with both kinds has 1 + eta times GRPO's weight. Off by default.
    Degenerate: lambda = 0 is GRPO, bit for bit; A = 0 stays 0.
    """
    options = inputs.options(RLCSDOptions)
    evidence_BT = contrast(inputs)
    shift_BT = (inputs.knobs.strength * options.beta * (evidence_BT / options.tau).tanh()).clamp(-REACH, REACH)
    selected_BT = inputs.mask_BT.bool() & (shift_BT.abs() > options.delta)
    credit = added(inputs, evidence_BT, torch.where(selected_BT, shift_BT, 0.0), keep_sign=True)
    return _as_two_means(inputs, credit, selected_BT, options.eta) if options.two_means else credit


def _as_two_means(inputs: Inputs, credit: Credit, selected_BT: Tensor, eta: float) -> Credit:
    keep_BT, dtype = inputs.mask_BT.bool(), credit.advantage_BT.dtype
    count_B1, selected_B1 = (which_BT.sum(1, keepdim=True).to(dtype) for which_BT in (keep_BT, selected_BT))
    factor_BT = count_B1 * torch.where(selected_BT, eta / selected_B1, 1.0 / (count_B1 - selected_B1))
    factor_BT = torch.where(keep_BT & (selected_B1 > 0), factor_BT, 1.0)
    return Credit(credit.evidence_BT, credit.weight_BT * factor_BT, credit.advantage_BT * factor_BT)


RLCSD = Rule(
    "rlcsd",
    "RLCSD, arXiv 2606.11709: A + tanh of the evidence against several wrong answers",
    ("plus", "minus"),
    assign_rlcsd,
    options=RLCSDOptions,
    defaults={
        "credit_strength": 0.5,
        "credit_schedule": "constant",
        "reference_minus": "marginal",
        "teacher_weights": "synced",
        "teacher_sync_every": 10,
    },
)
