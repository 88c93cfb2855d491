"""Credit that goes where the evidence is: a row's advantage is shared out by how much each token's evidence agrees.

CEPO's weights stay within 1 +- eps_w, and nine tokens in ten are filler with none: its update is GRPO's within a few
percent, whatever the evidence says. Here filler gets (1 - lambda) of the advantage, and lambda of it goes to the tokens
that the verdict and the evidence agree on. The sign stays the verifier's; a row's sum of advantages stays A n. What is
given up is CEPO's bound: a token gets at most 1 - lambda + lambda n times A, not 1 + lambda eps_w times.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from cepo import Credit, Inputs, Rule, contrastive_evidence, dead_zone, register, signed_evidence

CAP = 1.0
"""Nats: more evidence than that counts as that much."""


def assign_focused(inputs: Inputs) -> Credit:
    """m_t = (1 - lambda) + lambda n s_t / sum s, s_t = clip(sign(A) Delta_t, 0, CAP); ones where none agrees."""
    advantage_B, mask_BT, knobs = inputs.advantage_B, inputs.mask_BT, inputs.knobs
    raw_BT = contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), mask_BT)
    delta_BT = dead_zone(raw_BT, knobs.dead_zone)
    agrees_BT = signed_evidence(advantage_B, delta_BT, mask_BT).clamp(0.0, CAP)
    total_B1, count_B1 = agrees_BT.sum(1, keepdim=True), mask_BT.sum(1, keepdim=True)
    weight_BT = torch.where(mask_BT.bool() & (total_B1 > 0), count_B1 * agrees_BT / total_B1, 1.0)
    multiplier_BT = (1.0 - knobs.strength) + knobs.strength * weight_BT
    return Credit(evidence_BT=delta_BT, weight_BT=weight_BT, advantage_BT=advantage_B[:, None] * multiplier_BT)


def assign_misplaced(inputs: Inputs) -> Credit:
    """The control: the same rule on evidence that was moved on by half of its row, so that it lies on other tokens."""
    mask_BT = inputs.mask_BT
    position_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    count_B1 = mask_BT.sum(1, keepdim=True)
    moved_BT = (position_T + count_B1 // 2) % count_B1.clamp(min=1)
    from_BT = torch.where(position_T < count_B1, moved_BT, position_T)
    moved = {prompt: inputs.logp(prompt).gather(1, from_BT) for prompt in ("plus", "minus")}
    return assign_focused(replace(inputs, logps=moved))


for name, assign, source in (
    ("cepo-focused", assign_focused, "CEPO's evidence as shares of the advantage"),
    ("cepo-misplaced", assign_misplaced, "CEPO's evidence as shares of the advantage, on other tokens (a control)"),
):
    register(Rule(name, source, ("plus", "minus"), assign))
