"""Which process scores which sequences: pure bookkeeping on numbers of tokens."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from cepo.scoring import ScoreRow
from cepo.scoring.plan import common_prefix

__all__ = ["Load", "Move", "loads", "share"]


class Load(NamedTuple):
    """The sequences of one group on one process.

    `prefix`: tokens that are encoded once for all. `tokens`: beside it, of each sequence. `indices`: which they are.
    """

    prefix: int
    tokens: Sequence[int]
    indices: Sequence[int]

    @property
    def total(self) -> int:
        """0 where nothing is left."""
        return self.prefix + sum(self.tokens) if self.tokens else 0

    def without(self, count: int) -> Load:
        """What is left once the first `count` sequences have gone."""
        return Load(self.prefix, self.tokens[count:], self.indices[count:])

    def first(self, count: int) -> Load:
        """The first `count` sequences, with the prefix that they need too."""
        return Load(self.prefix, self.tokens[:count], self.indices[:count])


class Move(NamedTuple):
    """Sequences of one group, by their index on `source`, that `to` scores."""

    source: int
    to: int
    indices: Sequence[int]


def loads(sequences: Sequence[ScoreRow]) -> list[Load]:
    """A process's own sequences by group; what belongs to no group is alone."""
    members: dict[Hashable, list[int]] = {}
    for index, row in enumerate(sequences):
        members.setdefault(("alone", index) if row.group is None else row.group, []).append(index)
    found = []
    for indices in members.values():
        prefix = common_prefix([sequences[index].prompt_ids for index in indices]) if len(indices) > 1 else 0
        found.append(Load(prefix, [sequences[index].length - prefix for index in indices], indices))
    return found


def share(everyones: Sequence[Sequence[Load]], worth: int) -> list[Move]:
    """What to move for the busiest process to have less to do: from it to the idlest, as long as it helps.

    A whole group moves with its prefix; where a part of one moves, both sides encode the prefix.

    Args:
        everyones: the loads of each process.
        worth: tokens that a move has to save the busiest process at least.
    """
    left = [list(own) for own in everyones]
    busy = [_total(own) for own in left]
    moves: list[Move] = []
    while True:
        source, to = busy.index(max(busy)), busy.index(min(busy))
        after = {
            (place, count): (busy[source] - load.total + load.without(count).total, busy[to] + load.first(count).total)
            for place, load in enumerate(left[source])
            for count in range(1, len(load.tokens) + 1)
        }
        best = min(after, key=lambda cut: max(after[cut]), default=None)
        if best is None or busy[source] - max(after[best]) < worth:
            return moves
        busy[source], busy[to] = after[best]
        place, count = best
        moves.append(Move(source, to, left[source][place].indices[:count]))
        left[source][place] = left[source][place].without(count)


def _total(own: Sequence[Load]) -> int:
    return sum(load.total for load in own)
