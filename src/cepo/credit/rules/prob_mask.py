"""Probability mask (SPO, arXiv 2505.23564): tokens that the student was sure of leave the loss. No teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cepo.credit.rules.rule import STUDENT, Credit, Inputs, Rule, weighed
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class ProbMaskOptions:
    """`sure`: the probability from which on a token is left out, in (0, 1]."""

    sure: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.sure <= 1.0:
            raise SettingError(f"rule_options: sure must lie in (0, 1], got {self.sure}")


def assign_prob_mask(inputs: Inputs) -> Credit:
    """w_t = 0 where P_S(t) >= 0.9, else 1; then lambda.

    Source: SPO, arXiv 2505.23564, and its released code, whose loss is the mean over the tokens that are left. Here it
    stays the mean over all, so that the step is shorter by the share that is left; a learning rate makes up for it.
    No evidence. Degenerate: a row of which every token is sure has no gradient.
    """
    logp_BT = inputs.logp(STUDENT).detach()
    sure_BT = logp_BT >= math.log(inputs.options(ProbMaskOptions).sure)
    return weighed(inputs, torch.zeros_like(logp_BT), torch.where(sure_BT, torch.zeros_like(logp_BT), 1.0))


PROB_MASK = Rule(
    "prob_mask",
    "SPO, arXiv 2505.23564: tokens that the student was sure of leave the loss",
    (STUDENT,),
    assign_prob_mask,
    options=ProbMaskOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
