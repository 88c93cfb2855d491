"""Dynamic sampling: groups of equal rewards give no gradient; fresh problems take their place.

Idea: DAPO (arXiv 2503.14476, section 3.2). Bounded: after the given tries what is still dead stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from cepo.credit.groups import row_images
from cepo.trainer.metrics import loss_mask

if TYPE_CHECKING:
    from cepo.trainer.trainer import CEPOTrainer

__all__ = ["dead_groups", "fresh_problems", "replace_rows", "resample"]

LEFT = ("prompt_ids", "prompt_mask")
PER_IMAGE = ("pixel_values", "image_grid_thw", "num_images")
WHOLE_SEQUENCE = ("token_type_ids", "mm_token_type_ids")


Generate = Callable[[Any], dict[str, Any]]
"""TRL's generation and grading of given rows."""


def resample(
    trainer: CEPOTrainer, generate: Generate, inputs: Any, batch: dict[str, Any], attempt: int
) -> tuple[list[Any], dict[str, Any]] | None:
    """Replace this process's dead groups by live ones among as many fresh problems; None: none is dead anywhere.

    The trainer's last rewards and completions, and the number of tokens that the loss divides by, follow.
    """
    accelerator, size = trainer.accelerator, trainer.args.group_size
    rank = accelerator.process_index
    rewards, completions = _own(trainer, rank, len(inputs))
    dead = dead_groups(trainer.total_rewards(rewards), size)
    counts = accelerator.gather(torch.tensor([len(dead)], device=rewards.device))
    most = int(cast(Tensor, counts).max())
    if most == 0:
        return None
    seed = f"{trainer.args.seed}/{trainer.state.global_step}/{attempt}"
    fresh_inputs = fresh_problems(trainer.train_dataset, most, size, seed, rank, accelerator.num_processes)
    fresh = generate(fresh_inputs)
    fresh_rewards, fresh_completions = _own(trainer, rank, len(fresh_inputs))
    still_dead = dead_groups(trainer.total_rewards(fresh_rewards), size)
    live = [group for group in range(most) if group not in still_dead]
    taken = {
        old * size + place: new * size + place for old, new in zip(dead, live, strict=False) for place in range(size)
    }
    rewards = rewards.clone()
    rewards[list(taken)] = fresh_rewards[list(taken.values())]
    trainer.last_rewards = cast(Tensor, accelerator.gather(rewards))
    trainer.last_completions = _mixed(completions, fresh_completions, taken)
    merged = replace_rows(batch, fresh, taken, cast(int, trainer._tokenizer.pad_token_id))
    merged["num_items_in_batch"] = cast(Tensor, accelerator.gather(loss_mask(merged).sum())).sum()
    logged = trainer._metrics["train"]
    logged["resample/rows_generated"].append(float(len(fresh_inputs)))
    logged["resample/groups_replaced"].append(len(taken) / size)
    return _mixed(inputs, fresh_inputs, taken), merged


def _own(trainer: CEPOTrainer, rank: int, rows: int) -> tuple[Tensor, list[Any]]:
    """This process's rewards (rows, functions) and completions of the last generation."""
    rewards = cast(Tensor, trainer.last_rewards)
    return rewards[rank * rows : (rank + 1) * rows], trainer.last_completions


def _mixed(old: Sequence[Any], fresh: Sequence[Any], taken: Mapping[int, int]) -> list[Any]:
    return [fresh[taken[row]] if row in taken else value for row, value in enumerate(old)]


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
