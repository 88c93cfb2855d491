"""What a model does otherwise with long sequences than with short ones, as its config says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from cepo.scoring.models import causal_model

__all__ = ["may_look_nearby", "turning_length"]

_REACH = re.compile(r"window|local|block|chunk|budget|top_?k|keep|stride|span")
_NO_REACH = re.compile(r"layer|expert|head|dim|multiple|group|step|feed_forward")


def turning_length(model: nn.Module) -> int | None:
    """Tokens beyond which a forward turns the positions of all its rows otherwise (LongRoPE); None: it never does."""
    own: Mapping[str, Any] = getattr(causal_model(model).config.get_text_config(), "rope_parameters", None) or {}
    parts = [own, *(part for part in own.values() if isinstance(part, Mapping))]
    lengths = [part["original_max_position_embeddings"] for part in parts if part.get("rope_type") == "longrope"]
    return min(lengths, default=None)


def may_look_nearby(model: nn.Module, length: int) -> bool:
    """Whether the config has a number below `length` that may be the reach of its attention: a window, a block, how
    many keys are kept. Of a model whose cache is a plain one: what holds of short sequences need not hold of long ones.
    """
    config = causal_model(model).config.get_text_config().to_dict()
    return any(
        type(value) is int and 1 < value < length
        for name, value in config.items()
        if _REACH.search(name) and not _NO_REACH.search(name)
    )
