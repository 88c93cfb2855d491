"""Leaves rows without advantage out of an update: the same gradient for less work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from cepo.credit.groups import row_images

__all__ = ["without_dead_rows"]

PER_IMAGE = ("pixel_values", "image_grid_thw", "num_images")


def without_dead_rows(inputs: Mapping[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """A micro-batch without the rows whose advantages are all 0.

    Losses that divide by the tokens of the whole step (`num_items_in_batch`: dapo, cispo) have the same gradient
    without them. Every process keeps as many rows as the process with most live ones, and one at least, since
    TRL gathers metrics per row; dead rows fill up.
    """
    alive_B = _alive(inputs["advantages"])
    most = torch.tensor([int(alive_B.sum())], device=alive_B.device)
    count = max(1, int(cast(Tensor, accelerator.gather(most)).max()))
    if count >= len(alive_B):
        return dict(inputs)
    # Stable: the live rows in their order, then dead ones.
    kept = torch.sort((~alive_B).int(), stable=True).indices[:count].sort().values
    rows = kept.tolist()
    size = len(alive_B)
    chosen = {
        name: value[kept] if isinstance(value, Tensor) and value.dim() and len(value) == size else value
        for name, value in inputs.items()
        if name not in PER_IMAGE
    }
    return chosen | _images_of(inputs, rows, size)


def _alive(advantages: Tensor) -> Tensor:
    """Rows with any advantage that is not 0, (B,)."""
    return (advantages != 0).any(dim=-1) if advantages.dim() > 1 else advantages != 0


def _images_of(inputs: Mapping[str, Any], rows: Sequence[int], size: int) -> dict[str, Any]:
    """TRL's flat image tensors of the chosen rows."""
    if "pixel_values" not in inputs:
        return {}
    images = row_images(inputs, size)
    own = [image for image in (images[row] for row in rows) if image is not None]
    chosen: dict[str, Any] = {"num_images": [inputs["num_images"][row] for row in rows]}
    if own:
        chosen["pixel_values"] = torch.cat([image.pixel_values for image in own])
        chosen["image_grid_thw"] = torch.cat([image.grid_thw for image in own])
    return chosen
