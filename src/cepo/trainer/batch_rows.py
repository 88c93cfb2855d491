"""Batches made of rows of several, and cut to what their rows need: every padding of TRL's batch but TRL's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cepo.trainer.batch import KINDS, Batch, Kind
from cepo.trainer.batch_images import joined

__all__ = ["replaced", "together", "trimmed"]

_PADDED_WITH_PAD = ("prompt_ids", "completion_ids")


def together(parts: Sequence[Batch], rows: Sequence[tuple[int, int]], pad_id: int) -> Batch:
    """Rows of several batches in this order, each (part, row), padded to the widest part.

    Types of numbers, and what holds for a whole batch, are those of the first part.
    """
    starts = list(accumulate(map(len, parts), initial=0))
    places = [starts[part] + row for part, row in rows]
    widths = _Widths(*(max(_width(part, name) for part in parts) for name in _Widths._fields))
    made: dict[str, object] = {}
    for name in {name: None for part in parts for name in part.raw}:
        kind, values = KINDS[name], [part.entry(name) for part in parts]
        if kind is Kind.IMAGES:
            continue
        if kind is Kind.WHOLE or values[0] is None:
            made[name] = values[0]
        elif isinstance(values[0], Tensor):
            fill = pad_id if name in _PADDED_WITH_PAD else 0
            padded = _alike([_padded(part, name, widths, fill) for part in parts])
            made[name] = torch.cat([one.to(padded[0].dtype) for one in padded])[places]
        else:
            every = [one for value in values for one in value]
            made[name] = [every[place] for place in places]
    if any("pixel_values" in part.raw for part in parts):
        images = [image for part in parts for image in part.images()]
        made |= joined([images[place] for place in places])
    return Batch(made)


def replaced(batch: Batch, taken: Mapping[int, int], fresh: Batch, pad_id: int) -> Batch:
    """The batch with the rows `taken` (row -> row of `fresh`) replaced; both are padded to the wider one."""
    rows = [(1, taken[row]) if row in taken else (0, row) for row in range(len(batch))]
    return together([batch, fresh], rows, pad_id)


def trimmed(batch: Batch, multiple: int = 1) -> Batch:
    """Without the columns that are padding in every row; widths stay multiples of `multiple`."""
    left, right = (_spare(batch.raw[mask], multiple) for mask in ("prompt_mask", "completion_mask"))
    cut = {
        Kind.PROMPT: slice(left, None), Kind.COMPLETION: slice(0, batch.width - right),
        Kind.SEQUENCE: slice(left, batch.sequences[0].shape[1] - right),
    }  # fmt: skip
    columns = {name: value for name, value in batch.raw.items() if KINDS[name] in cut and not _is_per_row(name, value)}
    return batch.having(**{name: value[:, cut[KINDS[name]]] for name, value in columns.items()})


class _Widths(NamedTuple):
    """Padded lengths."""

    prompt_ids: int
    completion_ids: int
    teacher_ids: int


def _spare(mask_BT: Tensor, multiple: int) -> int:
    """Columns that no row needs."""
    longest = int(mask_BT.sum(dim=1).max())
    return max(0, mask_BT.shape[1] - multiple * max(1, ceil(longest / multiple)))


def _width(batch: Batch, name: str) -> int:
    return batch.raw[name].shape[1] if name in batch.raw else 0


def _padded(batch: Batch, name: str, widths: _Widths, fill: int) -> Tensor:
    value, kind = batch.entry(name), KINDS[name]
    if kind is Kind.ROW or _is_per_row(name, value):
        return value
    more = _Widths(*(wanted - _width(batch, name) for name, wanted in widths._asdict().items()))
    left = more.prompt_ids if kind in (Kind.PROMPT, Kind.SEQUENCE) else 0
    right = more.completion_ids if kind in (Kind.COMPLETION, Kind.SEQUENCE) else 0
    return F.pad(value, (left, more.teacher_ids if kind is Kind.TEACHER else right), value=fill)


def _is_per_row(name: str, value: Tensor) -> bool:
    """One number for each row, not a token: vLLM's importance ratio of a whole sequence is (B, 1)."""
    return value.dim() == 1 or (name == "importance_sampling_ratio" and value.shape[1] == 1)


def _alike(parts: Sequence[Tensor]) -> list[Tensor]:
    """One number for each row against one for each token: the row's holds for all of its tokens."""
    if all(part.dim() == 1 for part in parts):
        return list(parts)
    columns = [part[:, None] if part.dim() == 1 else part for part in parts]
    width = max(part.shape[1] for part in columns)
    return [part.expand(-1, width) for part in columns]
