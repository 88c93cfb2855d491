"""Decisive: praise what had to be known, blame the step at which the row was lost, and press on nothing else."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from cepo.credit.rules.rule import STUDENT, Credit, Inputs, Rule, contrast, gain, weighed


def assign_decisive(inputs: Inputs) -> Credit:
    """w_t = 1 - eps_w + 2 eps_w g_t, in CEPO's own bounds [1 - eps_w, 1 + eps_w]; then lambda. g_t in [0, 1] says how
    decisive token t was:

    A > 0: g_t = max(0, 1 - P_S / P+), the share of the teacher's probability that the student lacked.
    A < 0: g_t = q_{t-1} - q_t,  q_t = exp(-sum_{s<=t} max(0, log P- - log P+)).

    Ours. q is the odds that the row is still the right solution's and not the wrong one's; it only falls, and g is its
    fall. So the g of a wrong row sum to at most 1, a step that follows from an earlier error adds nothing, and with
    whole solutions as references g is largest at the first wrong step. CEPO's weights are 1 where there is no evidence;
    here they are 1 - eps_w, so that filler is pressed on least. The row's mean weight is below 1: hold the rule against
    its `mass` control. Evidence, nats: log P+ - log P_S where A > 0, log P+ - log P- elsewhere.
    |A_hat - A| <= lambda eps_w |A|, and the sign of A stays. Degenerate: eps_w = 0 is GRPO, bit for bit; without any
    evidence every token weighs 1 - eps_w.
    """
    keep_BT, advantage_B1 = inputs.mask_BT.bool(), inputs.advantage_B[:, None]
    gain_BT, contrast_BT = gain(inputs), contrast(inputs)
    known_BT = 1.0 - torch.exp(-gain_BT.clamp(min=0.0))
    lost_BT = torch.where(keep_BT, (-contrast_BT).clamp(min=0.0), 0.0).cumsum(1)
    fall_BT = torch.exp(-pad(lost_BT[:, :-1], (1, 0))) - torch.exp(-lost_BT)
    decisive_BT = torch.where(advantage_B1 > 0, known_BT, fall_BT)
    weight_BT = 1.0 + inputs.knobs.clip * (2.0 * decisive_BT - 1.0)
    return weighed(inputs, torch.where(advantage_B1 > 0, gain_BT, contrast_BT), weight_BT)


DECISIVE = Rule(
    "decisive",
    "ours: praise what had to be known, blame where the row was lost",
    ("plus", "minus", STUDENT),
    assign_decisive,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant", "reference_form": "rationale"},
)
