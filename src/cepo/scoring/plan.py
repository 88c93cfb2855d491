"""Which forwards score a set of rows: pure bookkeeping on token ids, no tensors.

Rows of one group share a prompt up to where the references begin. That prefix, images included, is encoded
once; the rows continue from its keys and values. Rows without such a prefix go whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from cepo.scoring.rows import ScoreRow

__all__ = ["Forwards", "Plan", "SharedBatch", "common_prefix", "make_plan", "unique_rows"]

SHORTEST_PREFIX = 16
"""Tokens. Encoding less than that once and continuing costs more than it saves."""

UNEVEN = 1.25
"""Rows are padded to at most this many times the shortest of their batch, once the batch is worth a forward."""

WORTH_A_FORWARD = 1024
"""Tokens."""


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Groups whose prefixes are encoded in one forward, and the batches of rows that continue from them.

    `prefixes`: group -> (a row to take the prefix and the images from, its length). `batches`: indices of rows.
    Either all of the groups have images, or none has.
    """

    prefixes: Mapping[Hashable, tuple[int, int]]
    batches: Sequence[Sequence[int]]
    has_images: bool


class Forwards(NamedTuple):
    """How many forwards of a call run the vision tower, and how many do not; those with images come first."""

    with_images: int
    without: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Forwards of one call: shared prefixes with their continuations, and batches of whole rows.

    `whole` is apart by whether its rows have images: (with, without).
    """

    shared: Sequence[SharedBatch]
    whole: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]

    @property
    def forwards(self) -> Forwards:
        """Forwards through the model, in the order in which `score` runs them."""
        seeing = sum(batch.has_images for batch in self.shared)
        continuing = sum(len(batch.batches) for batch in self.shared)
        return Forwards(seeing + len(self.whole[0]), len(self.shared) - seeing + continuing + len(self.whole[1]))


def common_prefix(prompts: Iterable[Sequence[int]]) -> int:
    """How many leading tokens all prompts have in common."""
    first, *others = prompts
    length = len(first)
    for other in others:
        length = min(length, len(other))
        if first[:length] == other[:length]:
            continue
        length = next(index for index in range(length) if first[index] != other[index])
    return length


def unique_rows(rows: Sequence[ScoreRow]) -> tuple[list[int], list[int]]:
    """(indices of the first of each kind, for each row its place among those).

    Rows are of one kind when prompt, completion and group are equal. Rows without a group are their own kind.
    """
    first: dict[tuple[object, ...], int] = {}
    kept: list[int] = []
    place = []
    for index, row in enumerate(rows):
        key = (row.group, tuple(row.prompt_ids), tuple(row.completion_ids)) if row.group is not None else (index,)
        if key not in first:
            first[key] = len(kept)
            kept.append(index)
        place.append(first[key])
    return kept, place


def make_plan(
    rows: Sequence[ScoreRow], tokens_per_forward: int, image_token_id: int | None, *, share: bool = True
) -> Plan:
    """Batches of at most `tokens_per_forward` padded tokens each (prefix included), or of one row.

    `share`: False for models that cannot continue from a prefix.
    """
    prefixes = _prefixes(rows, image_token_id) if share else {}
    lengths = {group: length for group, (_, length) in prefixes.items()}
    shared, whole = [], []
    for has_images in (True, False):
        here = [index for index, row in enumerate(rows) if (row.images is not None) == has_images]
        alone = {index: rows[index].length for index in here if rows[index].group not in prefixes}
        whole.append(_batches(alone, alone, 0, tokens_per_forward))
        continued = [group for group, (row, _) in prefixes.items() if (rows[row].images is not None) == has_images]
        for groups in _batches(continued, lengths, 0, tokens_per_forward):
            longest = max(lengths[group] for group in groups)
            rest = {i: rows[i].length - lengths[rows[i].group] for i in here if rows[i].group in groups}
            batches = _batches(rest, rest, longest, tokens_per_forward)
            shared.append(SharedBatch({group: prefixes[group] for group in groups}, batches, has_images))
    return Plan(shared, (whole[0], whole[1]))


def _prefixes(rows: Sequence[ScoreRow], image_token_id: int | None) -> dict[Hashable, tuple[int, int]]:
    """Group -> (its first row, the length of its shared prefix), for groups where sharing is exact and pays."""
    members: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        if row.group is not None:
            members.setdefault(row.group, []).append(index)
    found = {}
    for group, indices in members.items():
        # The last prompt token predicts the first completion token: it belongs to the continuation.
        shortest = min(len(rows[index].prompt_ids) for index in indices)
        length = min(common_prefix(rows[index].prompt_ids for index in indices), shortest - 1)
        ids = rows[indices[0]].prompt_ids
        all_images_within = image_token_id is None or image_token_id not in ids[length:]
        if len(indices) > 1 and length >= SHORTEST_PREFIX and all_images_within:
            found[group] = (indices[0], length)
    return found


Item = TypeVar("Item", bound=Hashable)


def _batches(items: Iterable[Item], lengths: Mapping[Item, int], before: int, budget: int) -> list[list[Item]]:
    """Items in order of length, cut where a batch would exceed the budget or pad too much."""
    batches: list[list[Item]] = []
    for item in sorted(items, key=lambda item: lengths[item]):
        batch = batches[-1] if batches else []
        padded = (before + lengths[item]) * (len(batch) + 1)
        uneven = bool(batch) and lengths[item] > UNEVEN * lengths[batch[0]]
        if batch and padded <= budget and not (uneven and lengths[batch[-1]] * len(batch) >= WORTH_A_FORWARD):
            batch.append(item)
        else:
            batches.append([item])
    return batches
