"""Sums over the masked-in entries of a row; the others may be NaN or infinite."""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

MaskBT: TypeAlias = Bool[Tensor, "B T"] | Real[Tensor, "B T"]
"""Which completion tokens count: bool, or any number type where non-zero means in."""


def as_bool(mask_BT: MaskBT) -> Bool[Tensor, "B T"]:
    """Masked-in positions as bool: m_t != 0."""
    return mask_BT != 0


def masked_sum(values_NM: Float[Tensor, "N M"], mask_NM: Bool[Tensor, "N M"]) -> Float[Tensor, "N 1"]:
    """Sum of each row's masked-in values, in their own unit and dtype; an empty row sums to 0.

    Selects with `torch.where`: multiplying by the mask would turn a masked-out infinity into NaN.
    """
    return torch.where(mask_NM, values_NM, 0.0).sum(dim=-1, keepdim=True)


def masked_mean(values_NM: Float[Tensor, "N M"], mask_NM: Bool[Tensor, "N M"]) -> Float[Tensor, "N 1"]:
    """Mean of each row's masked-in values; an empty row has mean 0."""
    count_N1 = mask_NM.sum(dim=-1, keepdim=True)
    return masked_sum(values_NM, mask_NM) / count_N1.clamp(min=1)
