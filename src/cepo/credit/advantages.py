"""Group-normalised advantages, as GRPO (arXiv 2402.03300) defines and TRL computes them."""

from typing import Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cepo.credit.masked import masked_mean, masked_std

Scale = Literal["group", "batch", "none"]
"""What the centred reward is divided by: its group's deviation, the whole batch's, or nothing."""

STD_EPSILON: Final = 1e-4
"""Added to the deviation, in reward units; TRL's value."""


def group_advantages(reward_B: Float[Tensor, "B"], group_size: int, scale: Scale = "group") -> Float[Tensor, "B"]:
    """How much better each rollout did than its group.

    A_i = (R_i - mean_group) / (std + 1e-4), Bessel-corrected std of the group, of the batch, or no division.
    Rows of one group are adjacent. Unit: deviations (reward units for scale "none").

    A NaN reward marks an unscorable row: it counts in no mean and no deviation and gets advantage 0.
    Departs from TRL by a rounding error only: a group whose rewards are all equal gets exactly 0, where
    R - mean leaves a residue, with a sign, that dividing by 1e-4 inflates (up to 1e-3 at R = 1.1, float32).

    Raises:
        ValueError: `group_size` below 2 or not dividing the rows, an infinite reward, an unknown scale.
    """
    _check(reward_B, group_size)
    reward_PG = reward_B.reshape(reward_B.numel() // group_size, group_size)
    scored_PG = ~reward_PG.isnan()
    lowest_P1 = torch.where(scored_PG, reward_PG, torch.inf).amin(dim=-1, keepdim=True)
    highest_P1 = torch.where(scored_PG, reward_PG, -torch.inf).amax(dim=-1, keepdim=True)
    live_PG = scored_PG & (lowest_P1 < highest_P1)
    centred_PG = torch.where(live_PG, reward_PG - masked_mean(reward_PG, scored_PG), 0.0)
    if scale == "none":
        return centred_PG.flatten()
    if scale == "group":
        std = masked_std(reward_PG, scored_PG)
    elif scale == "batch":
        std = masked_std(reward_PG.reshape(1, -1), scored_PG.reshape(1, -1))
    else:
        raise ValueError(f"scale must be 'group', 'batch' or 'none', got {scale!r}")
    return (centred_PG / (std + STD_EPSILON)).flatten()


def _check(reward_B: Tensor, group_size: int) -> None:
    rows = reward_B.numel()
    if group_size < 2:
        raise ValueError(f"a group needs at least 2 rollouts, got group_size={group_size} for {rows} rows")
    if rows % group_size:
        raise ValueError(f"{rows} rows do not divide into groups of {group_size}")
    infinite = reward_B.isinf().nonzero().flatten().tolist()
    if infinite:
        raise ValueError(f"a reward must be finite, or NaN if unscorable; infinite at rows {infinite}")
