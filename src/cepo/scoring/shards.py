"""What this process holds of parameters that are sharded (FSDP2, ZeRO-3), and what of others it still has gathered.

A forward gathers weights from these local shards, and keeps some of what it has gathered: the next one would read
that again, and not what lies in the shards by then.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

__all__ = ["drop_gathered", "is_sharded", "local_values", "trainable", "whole_size"]


def is_sharded(parameter: nn.Parameter) -> bool:
    """Whether other processes hold the rest of it."""
    return isinstance(parameter, DTensor) or hasattr(parameter, "ds_tensor")


def local_values(parameter: nn.Parameter) -> Tensor:
    """The values that lie here, as the very storage that a gather reads: a shard, or all of a whole parameter."""
    if isinstance(parameter, DTensor):
        with torch.no_grad():
            return parameter.to_local()
    shard = getattr(parameter, "ds_tensor", None)
    return parameter.data if shard is None else cast(Tensor, shard).data


def whole_size(parameter: nn.Parameter) -> int:
    """How many numbers it has on all processes together; ZeRO-3 leaves none here between forwards."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Trained parameters by name; those of FSDP2 as shards."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # or the gathered ones would stand in their place
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def drop_gathered(model: nn.Module) -> None:
    """Whatever was gathered of trained parameters is given up: the next forward gathers anew."""
    kept = [cast(Any, parameter) for _, parameter in trainable(model) if hasattr(parameter, "ds_tensor")]
    kept = [parameter for parameter in kept if parameter.ds_status.name == "AVAILABLE"]
    if kept:
        kept[0].partition(kept)
