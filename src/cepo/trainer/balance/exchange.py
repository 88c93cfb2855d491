"""Sends from every process to every other what the two of them alone need."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import recursively_apply, send_to_device
from torch import Tensor, distributed

__all__ = ["exchange"]

_NOTHING = torch.empty(0, dtype=torch.uint8)


def exchange(parcels: Mapping[int, object], accelerator: Accelerator) -> dict[int, Any]:
    """What other processes have for this one, by process; tensors come to its device. A collective call.

    Args:
        parcels: process -> what it is to get: tensors, numbers and texts, in dicts and lists.
    """
    device = accelerator.device
    packed = [_packed(parcels[to]) if to in parcels else _NOTHING for to in range(accelerator.num_processes)]
    outgoing = list(map(len, packed))
    everyones = cast(Tensor, accelerator.gather(torch.tensor([outgoing], device=device)))
    incoming: list[int] = everyones[:, accelerator.process_index].tolist()
    came = torch.empty(sum(incoming), dtype=torch.uint8, device=device)
    distributed.all_to_all_single(came, torch.cat(packed).to(device), incoming, outgoing)
    parts = enumerate(came.cpu().split(incoming))
    return {source: _unpacked(part, device) for source, part in parts if len(part)}


def _packed(parcel: object) -> Tensor:
    file = BytesIO()
    torch.save(recursively_apply(torch.clone, parcel), file)  # of a view it writes the whole storage: a batch's images
    return torch.frombuffer(bytearray(file.getbuffer()), dtype=torch.uint8)


def _unpacked(packed: Tensor, device: torch.device) -> Any:
    return send_to_device(torch.load(BytesIO(packed.numpy().tobytes()), map_location="cpu", weights_only=True), device)
