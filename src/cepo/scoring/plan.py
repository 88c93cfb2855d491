"""Which forwards score a set of rows: pure bookkeeping on token ids, no tensors.

Rows of one group share a prompt up to where the references begin. That prefix, images included, is encoded
once. What follows of a prompt, its stem, is the same in all rows that are told the same reference; where that
saves a forward's worth of tokens, stems are encoded once too. The rows continue from the keys and values of
either. Rows without a shared prefix go whole. Images in another layout than Qwen-VL's go through one forward each:
what several rows' have in common is their processor's to know. So do rows that a model reads otherwise than shorter
ones, which it would read so too in the same forward.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, TypeVar

from cepo.scoring.rows import OtherImages, ScoreRow

__all__ = ["WORTH_A_FORWARD", "Forwards", "Plan", "SharedBatch", "common_prefix", "make_plan", "unique_rows"]

SHORTEST_PREFIX = 16
"""Tokens. Encoding less than that once and continuing costs more than it saves."""

WORTH_A_FORWARD = 1024
"""Tokens that take as long as a forward takes to be launched, on an accelerator."""


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Groups whose prefixes are encoded in one forward, and the batches of rows that continue from them.

    `prefixes`: group -> (a row to take the prefix and the images from, its length). `stems`: row -> the row whose
    stem is encoded for it; empty where every row encodes its own. `batches`: indices of rows. Either all of the
    groups have images, or none has.
    """

    prefixes: Mapping[Hashable, tuple[int, int]]
    stems: Mapping[int, int]
    batches: Sequence[Sequence[int]]
    has_images: bool


class Limits(NamedTuple):
    """Of a forward: the most padded tokens, prefixes included, and what its launch costs, in tokens."""

    tokens: int
    launch: int


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
        continuing = sum(len(batch.batches) + bool(batch.stems) for batch in self.shared)
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
    rows: Sequence[ScoreRow],
    tokens_per_forward: int,
    image_token_id: int | None,
    *,
    share: bool = True,
    launch: int = WORTH_A_FORWARD,
    turning: int | None = None,
) -> Plan:
    """Batches of at most `tokens_per_forward` padded tokens each (prefix included), or of one row.

    `share`: False for models that cannot continue from a prefix. `launch`: what a forward costs beside its tokens,
    in tokens. `turning`: rows of more tokens go whole, each through a forward of its own.
    """
    limits = Limits(tokens_per_forward, launch)
    apart = {index: row.length for index, row in enumerate(rows) if turning is not None and row.length > turning}
    members = _members(rows)
    prefixes = {
        group: found
        for group, found in (_prefixes(rows, image_token_id) if share else {}).items()
        if apart.keys().isdisjoint(members[group])
    }
    lengths = {group: length for group, (_, length) in prefixes.items()}
    shared, whole = [], []
    one_by_one = any(isinstance(row.images, OtherImages) for row in rows)
    for has_images in (True, False):
        seeing = limits._replace(tokens=1) if has_images and one_by_one else limits
        alone = {
            index: row.length
            for index, row in enumerate(rows)
            if (row.images is not None) == has_images and row.group not in prefixes
        }
        near = [index for index in alone if index not in apart]
        whole.append(_batches(near, alone, 0, seeing) + [[index] for index in alone if index in apart])
        continued = [group for group, (row, _) in prefixes.items() if (rows[row].images is not None) == has_images]
        for groups in _batches(continued, lengths, 0, seeing):
            mine = {group: prefixes[group] for group in groups}
            shared += _shared(rows, mine, members, has_images, limits)
    return Plan(shared, (whole[0], whole[1]))


def _members(rows: Sequence[ScoreRow]) -> dict[Hashable, list[int]]:
    """Group -> indices of its rows."""
    members: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        if row.group is not None:
            members.setdefault(row.group, []).append(index)
    return members


def _shared(
    rows: Sequence[ScoreRow],
    prefixes: Mapping[Hashable, tuple[int, int]],
    members: Mapping[Hashable, Sequence[int]],
    has_images: bool,
    limits: Limits,
) -> list[SharedBatch]:
    """Batches of these groups: one, or as many as the stems need if even so each saves a forward's worth."""
    here = [(index, length) for group, (_, length) in prefixes.items() for index in members[group]]
    stems = _stems(rows, here)
    of_prompt = {index: len(rows[index].prompt_ids) - 1 for index, _ in here}
    saved = sum(of_prompt[index] - length for index, length in here if stems[index] != index)
    longest_prefix = max(length for _, length in here)
    longest_stem = max(of_prompt[index] - length for index, length in here)
    parts = ceil(len(set(stems.values())) * (longest_prefix + longest_stem) / limits.tokens)
    if saved < limits.launch * parts or parts > len(prefixes):
        rest = {index: rows[index].length - length for index, length in here}
        return [SharedBatch(prefixes, {}, _batches(rest, rest, longest_prefix, limits), has_images)]
    if parts > 1:
        groups = list(prefixes)
        each = ceil(len(groups) / parts)
        cut = [groups[start : start + each] for start in range(0, len(groups), each)]
        pieces = [{group: prefixes[group] for group in part} for part in cut]
        return [batch for piece in pieces for batch in _shared(rows, piece, members, has_images, limits)]
    rest = {index: rows[index].length - of_prompt[index] for index, _ in here}
    return [SharedBatch(prefixes, stems, _batches(rest, rest, longest_prefix + longest_stem, limits), has_images)]


def _stems(rows: Sequence[ScoreRow], here: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Row -> the first row of its group with the same prompt."""
    first: dict[tuple[Hashable, tuple[int, ...]], int] = {}
    return {
        index: first.setdefault((rows[index].group, tuple(rows[index].prompt_ids[length:])), index)
        for index, length in here
    }


def _prefixes(rows: Sequence[ScoreRow], image_token_id: int | None) -> dict[Hashable, tuple[int, int]]:
    """Group -> (its first row, the length of its shared prefix), for groups where sharing is exact and pays."""
    found = {}
    for group, indices in _members(rows).items():
        # The last prompt token predicts the first completion token: it belongs to the continuation.
        shortest = min(len(rows[index].prompt_ids) for index in indices)
        length = min(common_prefix(rows[index].prompt_ids for index in indices), shortest - 1)
        ids = rows[indices[0]].prompt_ids
        images = rows[indices[0]].images
        reach = images.reach if isinstance(images, OtherImages) else 0
        all_images_within = (image_token_id is None or image_token_id not in ids[length:]) and length >= reach
        if len(indices) > 1 and length >= SHORTEST_PREFIX and all_images_within:
            found[group] = (indices[0], length)
    return found


Item = TypeVar("Item", bound=Hashable)


def _batches(items: Iterable[Item], lengths: Mapping[Item, int], before: int, limits: Limits) -> list[list[Item]]:
    """Items in order of length, cut where padding and launches together cost least: a dynamic programme."""
    order = sorted(items, key=lambda item: lengths[item])
    least, cuts = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        fitting = max(1, min(end, limits.tokens // max(1, before + longest)))
        costs = {start: least[start] + longest * (end - start) for start in range(end - fitting, end)}
        start = min(costs, key=lambda start: costs[start])
        least.append(costs[start] + limits.launch)
        cuts.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(order[cuts[end] : end])
        end = cuts[end]
    return batches[::-1]
