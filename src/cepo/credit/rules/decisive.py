"""Decisive: praise in full and most where a wrong solution parts, blame only where the row was lost."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from cepo.credit.rules.rule import Credit, Inputs, Rule, contrast, weighed


def assign_decisive(inputs: Inputs) -> Credit:
    """g_t in [0, 1] says how decisive token t was, by Delta_t = log P+ - log P-, nats:

    A > 0: w_t = 1 + eps_w g_t,          g_t = max(0, 1 - P- / P+).
    A < 0: w_t = 1 - eps_w + 2 eps_w g_t,  g_t = q_{t-1} - q_t,  q_t = exp(-sum_{s<=t} max(0, -Delta_s));

    then lambda. Ours. Praise is never cut, as less of it teaches less; it is most where the wrong solution would not
    have gone. q is the odds that a wrong row is still the right solution's; it only falls, and g is its fall. So the g
    of a wrong row sum to at most 1, a step that follows from an earlier error adds nothing, and with whole solutions as
    references g is largest at the first wrong step. What is blamed without being decisive weighs 1 - eps_w. In all this
    is less blame than GRPO's, and less blame alone can be a gain: hold the rule against its `mass` control.
    1 - eps_w <= w <= 1 + eps_w, CEPO's own bounds: |A_hat - A| <= lambda eps_w |A|, and the sign of A stays.
    Degenerate: eps_w = 0 is GRPO, bit for bit; without any evidence praise weighs 1, blame 1 - eps_w.
    """
    keep_BT, advantage_B1 = inputs.mask_BT.bool(), inputs.advantage_B[:, None]
    evidence_BT = contrast(inputs)
    clip = inputs.knobs.clip
    parted_BT = 1.0 - torch.exp(-evidence_BT.clamp(min=0.0))
    lost_BT = torch.where(keep_BT, (-evidence_BT).clamp(min=0.0), 0.0).cumsum(1)
    fall_BT = torch.exp(-pad(lost_BT[:, :-1], (1, 0))) - torch.exp(-lost_BT)
    praise_BT, blame_BT = 1.0 + clip * parted_BT, 1.0 + clip * (2.0 * fall_BT - 1.0)
    return weighed(inputs, evidence_BT, torch.where(advantage_B1 > 0, praise_BT, blame_BT))


DECISIVE = Rule(
    "decisive",
    "ours: praise in full, most where the wrong part; blame where the row was lost",
    ("plus", "minus"),
    assign_decisive,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant", "reference_form": "rationale"},
)
