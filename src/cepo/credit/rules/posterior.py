"""Posterior: the evidence as a baseline that knows the prefix. It cannot bias the gradient, whatever its quality."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from cepo.credit.evidence import contrastive_evidence, dead_zone
from cepo.credit.rules.rule import Credit, Inputs, Rule, added
from cepo.credit.rules.values import EPSILON

REACH = 8.0
"""Nats: further than that from the start the odds do not go (V within 0.0003 of certainty at even odds)."""


def assign_posterior(inputs: Inputs) -> Credit:
    """A_t = A - lambda (G - 1)/G (V_{t-1} - V_0) / (std + 1e-4),  logit V_t = logit V_0 + sum_{s<=t} Delta_s.

    V_0 is the pass rate of the row's siblings, within [1/2G, 1 - 1/2G]; Delta = log P+ - log P-, nats, P- of wrong
    answers of *other* rollouts. Ours. With reward = verdict and lambda = 1 it is (G - 1)/G (R - V_{t-1}) / std: GRPO,
    whose A is (G - 1)/G (R - V_0) / std, with V_{t-1} in the place of V_0. By Bayes, if the teachers come from one
    joint, V_t = P(right | prefix, the answer is one of those told).

    No bias: let b_t be any function of the prompt, the prefix y_<t and the other rollouts. Then
    E[b_t grad log pi(y_t | y_<t)] = E[b_t sum_v pi(v | y_<t) grad log pi(v | y_<t)] = E[b_t grad 1] = 0, so adding b_t
    to the advantage of token t leaves the expected gradient alone. V_{t-1} - V_0 is such a function as long as r+ and
    r- say nothing of the row itself: hence the prompt "rival" and never `own`. What remains is GRPO's own: std and the
    choice of groups whose rewards differ depend on the row too.

    The sign of A is not kept; |A_t - A| <= lambda / std. Evidence is clipped where the odds are 8 nats from their
    start, on the running sum's value alone, so that V stays a function of the prefix. Degenerate: Delta = 0 or
    lambda = 0 is GRPO, bit for bit; tokens outside the mask add nothing.
    """
    delta_BT = contrastive_evidence(inputs.logp("plus"), inputs.logp("rival"), inputs.mask_BT)
    delta_BT = dead_zone(delta_BT, inputs.knobs.dead_zone)
    size_B = inputs.group_size_B.to(delta_BT.dtype)
    others_B = (size_B * inputs.pass_rate_B - inputs.verdict_B.to(size_B.dtype)) / (size_B - 1)
    start_B1 = others_B.clamp(0.5 / size_B, 1 - 0.5 / size_B)[:, None]
    before_BT = pad(delta_BT.cumsum(1)[:, :-1], (1, 0))
    value_BT = (start_B1.logit() + before_BT.clamp(-REACH, REACH)).sigmoid()
    risen_BT = torch.where(before_BT == 0, 0.0, value_BT - start_B1)
    scale_B1 = ((size_B - 1) / size_B / (inputs.deviation_B + EPSILON))[:, None]
    return added(inputs, delta_BT, -inputs.knobs.strength * risen_BT * scale_B1)


POSTERIOR = Rule(
    "posterior",
    "ours: the evidence as a baseline that knows the prefix",
    ("plus", "rival"),
    assign_posterior,
    reads=frozenset({"pass_rate", "verdict", "deviation", "group_size"}),
    keeps_sign=False,
    defaults={
        "credit_strength": 1.0,
        "credit_schedule": "constant",
        "reference_minus": "marginal",
        "reference_fallback": "grpo",
    },
    row_free_references=True,
)
