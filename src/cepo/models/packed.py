"""Weights of four bits, beneath adapters that are trained (QLoRA, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from transformers import BitsAndBytesConfig

from cepo.errors import SettingError

__all__ = ["BYTES_OF_PACKED", "FOUR_BITS_NEED", "four_bits"]

FOUR_BITS_NEED = "pip install 'cepo[qlora]'"

BYTES_OF_PACKED = 0.516
"""Of a weight: 4 bits, and its share of the blocks' scales, which are quantised too (section 3 of the paper)."""


def four_bits(dtype: str) -> BitsAndBytesConfig:
    """NF4 with double quantisation; products in `dtype`, bfloat16 for `auto`.

    The codes lie in tensors of that dtype, since FSDP2 shards only tensors of one dtype.

    Raises:
        SettingError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise SettingError(f"load_in_4bit: true needs bitsandbytes: {FOUR_BITS_NEED}")
    compute = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=compute,
    )
