"""Dynamic sampling: groups of equal rewards give no gradient; fresh problems take their place.

Idea: DAPO (arXiv 2503.14476, section 3.2). Bounded: after the given tries what is still dead stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from cepo.training.rollouts import row_images

__all__ = ["dead_groups", "fresh_problems", "replace_rows"]

LEFT = ("prompt_ids", "prompt_mask")
PER_IMAGE = ("pixel_values", "image_grid_thw", "num_images")
WHOLE_SEQUENCE = ("token_type_ids", "mm_token_type_ids")


def dead_groups(reward_B: Tensor, group_size: int) -> list[int]:
    """Groups whose rewards are all equal, by their index."""
    reward_PG = reward_B.view(-1, group_size)
    return (reward_PG.max(dim=1).values == reward_PG.min(dim=1).values).nonzero().flatten().tolist()


def fresh_problems(
    dataset: Any, count: int, group_size: int, seed: str, process_index: int, processes: int
) -> list[dict[str, Any]]:
    """This process's rows of `count` problems for each process, drawn by `seed`, each G times."""
    rng = Random(f"resample/{seed}")
    drawn = rng.sample(range(len(dataset)), min(len(dataset), count * processes))
    drawn += rng.choices(range(len(dataset)), k=count * processes - len(drawn))
    own = drawn[process_index * count : (process_index + 1) * count]
    return [dataset[index] for index in own for _ in range(group_size)]


def replace_rows(
    batch: Mapping[str, Any], fresh: Mapping[str, Any], taken: Mapping[int, int], pad_id: int
) -> dict[str, Any]:
    """TRL's batch with the rows `taken` (row -> row of `fresh`) replaced; both are padded to the wider one."""
    size, fresh_size = len(batch["prompt_ids"]), len(fresh["prompt_ids"])
    prompt = max(batch["prompt_ids"].shape[1], fresh["prompt_ids"].shape[1])
    completion = max(batch["completion_ids"].shape[1], fresh["completion_ids"].shape[1])
    merged = dict(batch)
    for name, value in batch.items():
        if name in PER_IMAGE or not isinstance(value, Tensor) or not value.dim() or len(value) != size:
            continue
        fill = pad_id if name in ("prompt_ids", "completion_ids") else 0
        old, new = (
            _padded(name, source[name], source["prompt_ids"].shape[1], prompt, completion, fill)
            for source in (batch, fresh)
        )
        old = old.clone()
        old[list(taken)] = new[list(taken.values())].to(old.dtype)
        merged[name] = old
    return merged | _merged_images(batch, fresh, taken, size, fresh_size)


def _padded(name: str, value: Tensor, own_prompt: int, prompt: int, completion: int, fill: int) -> Tensor:
    if value.dim() == 1:
        return value
    if name in LEFT:
        return torch.nn.functional.pad(value, (prompt - value.shape[1], 0), value=fill)
    if name in WHOLE_SEQUENCE:
        right = completion - (value.shape[1] - own_prompt)
        return torch.nn.functional.pad(value, (prompt - own_prompt, right), value=fill)
    return torch.nn.functional.pad(value, (0, completion - value.shape[1]), value=fill)


def _merged_images(
    batch: Mapping[str, Any], fresh: Mapping[str, Any], taken: Mapping[int, int], size: int, fresh_size: int
) -> dict[str, Any]:
    if "pixel_values" not in batch and "pixel_values" not in fresh:
        return {}
    old, new = row_images(batch, size), row_images(fresh, fresh_size)
    images = [new[taken[row]] if row in taken else old[row] for row in range(size)]
    counts: Sequence[int] = batch.get("num_images", [0] * size)
    fresh_counts: Sequence[int] = fresh.get("num_images", [0] * fresh_size)
    given = [image for image in images if image is not None]
    return {
        "num_images": [fresh_counts[taken[row]] if row in taken else counts[row] for row in range(size)],
        "pixel_values": torch.cat([image.pixel_values for image in given]),
        "image_grid_thw": torch.cat([image.grid_thw for image in given]),
    }
