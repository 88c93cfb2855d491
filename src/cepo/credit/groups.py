"""From a batch of TRL to groups of graded rollouts, across processes, and to rows that can be scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cepo.answers import extract_answer, same_answer
from cepo.credit.references import ReferencePolicy, choose_references
from cepo.glossary import Group, References, Rollout
from cepo.scoring import Images

__all__ = ["LocalGroups", "gather_groups", "grade_rollouts", "row_images", "row_references"]


@dataclass(frozen=True, slots=True)
class LocalGroups:
    """The groups that this process holds rows of, complete: siblings on other processes included.

    `first_row` is the global index of the first local row; groups are keyed by their global index.
    """

    groups: Mapping[int, Group]
    first_row: int
    group_size: int

    def group_of(self, local_row: int) -> int:
        return (self.first_row + local_row) // self.group_size

    def place_in_group(self, local_row: int) -> int:
        return (self.first_row + local_row) % self.group_size


def grade_rollouts(
    texts: Sequence[str],
    golds: Sequence[str | None],
    rewards: Sequence[float],
    verdict: Sequence[float] | None,
    below: float,
) -> list[Rollout]:
    """Local rollouts with the grader's verdict, or with the named reward's (`verdict` < `below` is wrong)."""
    rollouts = []
    for row, (text, gold, reward) in enumerate(zip(texts, golds, rewards, strict=True)):
        answer = extract_answer(text)
        if verdict is not None:
            correct: bool | None = verdict[row] >= below
        else:
            correct = None if gold is None else same_answer(answer, gold)
        rollouts.append(Rollout(text=text, answer=answer, correct=correct, reward=reward))
    return rollouts


def gather_groups(
    local: Sequence[Rollout],
    golds: Sequence[str | None],
    solutions: Sequence[str | None],
    group_size: int,
    process_index: int,
    gather: Callable[[list[Rollout]], list[Rollout]],
) -> LocalGroups:
    """Complete the groups of the local rows with their siblings on other processes, whose rollouts `gather` gets."""
    everyone = gather(list(local))
    first = process_index * len(local)
    groups: dict[int, Group] = {}
    for row, (gold, solution) in enumerate(zip(golds, solutions, strict=True)):
        index = (first + row) // group_size
        if index not in groups:
            members = everyone[index * group_size : (index + 1) * group_size]
            groups[index] = Group(gold=gold, rollouts=tuple(members), solution=solution)
    return LocalGroups(groups, first, group_size)


def row_references(
    groups: LocalGroups, rows: int, policy: ReferencePolicy, step: int, contrastive: bool
) -> list[References]:
    """References of the local rows, in their order; equal for any number of processes."""
    chosen = {
        index: choose_references(group, policy, step=step, index=index, contrastive=contrastive)
        for index, group in groups.groups.items()
    }
    return [chosen[groups.group_of(row)][groups.place_in_group(row)] for row in range(rows)]


def is_decided(group: Group) -> bool:
    """Whether the verifier tells the group's rollouts apart: some are right and some are wrong.

    Where it does not, a difference in reward comes from elsewhere (the format, say), and r+ against r- has
    nothing to say about it: such a group keeps its base advantage.
    """
    verdicts = {rollout.correct for rollout in group.rollouts}
    return True in verdicts and False in verdicts


def row_images(batch: Mapping[str, Any], rows: int) -> list[Images | None]:
    """Each row's images out of TRL's flat tensors.

    Raises:
        ValueError: a vision model whose processor gives no `image_grid_thw` (not of Qwen-VL's layout).
    """
    if "pixel_values" not in batch:
        return [None] * rows
    if "image_grid_thw" not in batch:
        raise ValueError(
            "token-level credit needs images in Qwen-VL's layout (pixel_values with image_grid_thw), but this "
            "model's processor gives another; use method='grpo' with it"
        )
    grid: Tensor = batch["image_grid_thw"]
    counts: Sequence[int] = batch["num_images"]
    patches = grid.prod(dim=-1)
    images: list[Images | None] = []
    first_image = first_patch = 0
    for count in counts:
        own = grid[first_image : first_image + count]
        size = int(patches[first_image : first_image + count].sum())
        images.append(Images(batch["pixel_values"][first_patch : first_patch + size], own) if count else None)
        first_image, first_patch = first_image + count, first_patch + size
    return images


def unpadded(ids_BT: Tensor, mask_BT: Tensor) -> list[list[int]]:
    """Rows of token ids without padding."""
    rows = zip(ids_BT.tolist(), mask_BT.tolist(), strict=True)
    return [[token for token, keep in zip(row, kept, strict=True) if keep] for row, kept in rows]


def completion_lengths(batch: Mapping[str, Any]) -> Tensor:
    """Tokens of each completion, also where `mask_truncated_completions` has zeroed its mask, (B,)."""
    return torch.as_tensor(batch["completion_mask"]).sum(dim=-1)
