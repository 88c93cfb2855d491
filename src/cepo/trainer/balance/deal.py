"""Which process trains on which live row, and in which micro-batch: pure bookkeeping on lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

__all__ = ["Place", "deal"]


class Place(NamedTuple):
    """Where a row was drawn: its process, and its index among that process's rows."""

    process: int
    row: int


def deal(live: Sequence[Mapping[int, int]], batches: int) -> list[list[list[Place]]]:
    """Each process's rows in each micro-batch, [micro-batch][process].

    Rows of like length come into one micro-batch, the longest into the first, so that little of it is padding. In
    each, every process has equally many but for one, since all wait for each other there; rows stay at home
    where that allows it.

    Args:
        live: of each process, row -> tokens, of the rows that have an advantage.
        batches: micro-batches to fill; one may stay empty.
    """
    processes = len(live)
    order = [Place(process, row) for process, own in enumerate(live) for row in own]
    order.sort(key=lambda place: (-live[place.process][place.row], place))
    rounds = ceil(len(order) / processes)
    dealt, start = [], 0
    for batch in range(batches):  # the shorter ones take what does not divide
        end = start + processes * ((rounds + batch) // batches)
        dealt.append(_at_home(order[start:end], processes))
        start = end
    return dealt


def _at_home(places: Sequence[Place], processes: int) -> list[list[Place]]:
    """Each process's share: as many as every other's, but for one; its own rows before others'."""
    own: list[list[Place]] = [[] for _ in range(processes)]
    for place in places:
        own[place.process].append(place)
    least, more = divmod(len(places), processes)
    richest = sorted(range(processes), key=lambda process: -len(own[process]))
    room = {process: least + (rank < more) for rank, process in enumerate(richest)}
    homeless = iter([place for process in range(processes) for place in own[process][room[process] :]])
    kept = [own[process][: room[process]] for process in range(processes)]
    return [[*kept[p], *(next(homeless) for _ in range(room[p] - len(kept[p])))] for p in range(processes)]
