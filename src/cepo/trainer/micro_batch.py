"""Leaves rows without advantage out of an update: the same gradient for less work."""

from __future__ import annotations

from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from cepo.trainer.batch import Batch

__all__ = ["without_dead_rows"]


def without_dead_rows(batch: Batch, accelerator: Accelerator) -> Batch:
    """A micro-batch without the rows whose advantages are all 0.

    Losses that divide by the tokens of the whole step (`num_items_in_batch`: dapo, cispo) have the same gradient
    without them. Every process keeps as many rows as the process with most live ones, and one at least, since
    TRL gathers metrics per row; dead rows fill up.
    """
    alive_B = batch.alive()
    most = torch.tensor([int(alive_B.sum())], device=alive_B.device)
    count = max(1, int(cast(Tensor, accelerator.gather(most)).max()))
    if count >= len(alive_B):
        return batch
    # Stable: the live rows in their order, then dead ones.
    kept = torch.sort((~alive_B).int(), stable=True).indices[:count].sort().values
    return batch.taking(kept.tolist())
