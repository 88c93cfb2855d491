"""What of an evaluation is generated together, and by whom: the same batches for any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datasets import Dataset

from cepo.evaluate.records import Generation
from cepo.glossary import DataRow

__all__ = ["ALONE", "Team", "Turn", "cut_batches", "has_images", "turns"]


@dataclass(frozen=True, slots=True)
class Team:
    """Processes that share the work.

    Attributes:
        index, count: this process, and how many there are.
        in_step: whether a forward is collective, as where weights are sharded: all generate at the same time,
            equally often, with images and without.
        gather: everyone's items, in the order of processes (a collective call).
        done: batches that an earlier start has left, by their number; equal on every process.
        keep: called with a batch's number and what was generated, by the process that did it.
    """

    index: int = 0
    count: int = 1
    in_step: bool = False
    gather: Callable[[list[Any]], list[Any]] = list
    done: Mapping[int, Sequence[Generation]] = field(default_factory=dict)
    keep: Callable[[int, Sequence[Generation]], None] = lambda number, made: None


ALONE = Team()


class Turn(NamedTuple):
    """One batch for each process.

    Attributes:
        own: number of this process's batch; None: nothing to do.
        is_own: False: another process's, generated along and thrown away.
        rows: how many completions all processes make.
    """

    own: int | None
    is_own: bool
    rows: int


def cut_batches(dataset: Dataset, samples: int, size: int) -> list[list[int]]:
    """Rows that are generated together, each `samples` times in all; rows with and without images are not mixed.

    Rows with images come first, then by size: like stands beside like, and too large a batch fails at once.
    """
    batches: list[list[int]] = []
    seeing = False
    for index, sees in _longest_first(dataset):
        for _ in range(samples):
            if not batches or len(batches[-1]) == size or sees != seeing:
                batches.append([])
            batches[-1].append(index)
            seeing = sees
    return batches


def turns(dataset: Dataset, batches: Sequence[Sequence[int]], team: Team) -> Iterator[Turn]:
    """The batches that are not done, dealt out; in a turn all have images or none."""
    left = [number for number in range(len(batches)) if number not in team.done]
    kinds = [[n for n in left if has_images(dataset[batches[n][0]]) == sees] for sees in (True, False)]
    for kind in kinds:
        for start in range(0, len(kind), team.count):
            dealt = kind[start : start + team.count]
            is_own = team.index < len(dealt)
            own = dealt[team.index] if is_own else dealt[0] if team.in_step else None
            yield Turn(own, is_own, sum(len(batches[number]) for number in dealt))


def has_images(row: DataRow) -> bool:
    return bool(row.get("images"))


def _longest_first(dataset: Dataset) -> list[tuple[int, bool]]:
    """(row, whether it has images)."""

    def size(index: int) -> tuple[bool, int, int]:
        row = dataset[index]
        # About 1000 pixels or 4 characters make a token.
        tokens = sum(image.width * image.height for image in row.get("images") or []) // 1000
        return has_images(row), tokens + sum(len(message["content"]) for message in row["prompt"]) // 4, -index

    sizes = sorted((size(index) for index in range(len(dataset))), reverse=True)
    return [(-index, sees) for sees, _, index in sizes]
