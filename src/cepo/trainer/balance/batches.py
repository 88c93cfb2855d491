"""The micro-batches of an update with its live rows dealt evenly: the same gradient for less waiting and padding.

Losses that divide by the tokens of the whole step (dapo, cispo, those of distillations) sum over its rows, whichever
process and micro-batch a row is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import gcd
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from cepo.trainer.balance.deal import Place, deal
from cepo.trainer.balance.exchange import exchange
from cepo.trainer.batch import Batch, RawBatch
from cepo.trainer.batch_rows import together, trimmed
from cepo.trainer.config import CEPOConfig

__all__ = ["Balancer"]


@dataclass(frozen=True, slots=True)
class Balancer:
    """What dealing rows rests on.

    Attributes:
        window: micro-batches that are surely of one optimiser step.
        pad_id: fills ids.
        multiple: widths are multiples of it (TRL's pad_to_multiple_of).
    """

    accelerator: Accelerator
    window: int
    pad_id: int
    multiple: int = 1

    @classmethod
    def of(cls, args: CEPOConfig, accelerator: Accelerator, pad_id: int) -> Balancer | None:
        """None: rows stay where they were drawn."""
        window = gcd(cast(int, args.steps_per_generation), args.gradient_accumulation_steps)
        multiple = cast(int, args.pad_to_multiple_of or 1)
        return cls(accelerator, window, pad_id, multiple) if args.balance_batch else None

    def __call__(self, batches: Sequence[RawBatch]) -> list[RawBatch]:
        """As many micro-batches, with dead rows only where a process has a live one less than another.

        A collective call.
        """
        own = [Batch(batch) for batch in batches]
        windows = [own[start : start + self.window] for start in range(0, len(own), self.window)]
        return [batch for window in windows for batch in self._dealt(window)]

    def _dealt(self, window: Sequence[Batch]) -> list[RawBatch]:
        rows = [(part, row) for part, batch in enumerate(window) for row in range(len(batch))]
        tokens = [count for batch in window for count in batch.tokens.tolist()]
        alive = [lives for batch in window for lives in batch.alive().tolist()]
        live = {row: tokens[row] for row, lives in enumerate(alive) if lives}
        dealt = deal(cast(list[dict[int, int]], gather_object([live])), len(window))
        # TRL gathers some metrics by row: every process has as many in a micro-batch, and one at least.
        counts = [max(1, *map(len, shares)) for shares in dealt]
        found = {Place(self._me, index): row for index, row in enumerate(rows)}
        arrived, places = self._arrived(dealt, window, rows)
        found |= places
        filler = rows[min(range(len(rows)), key=lambda row: tokens[row])]
        picks: list[tuple[int, int]] = []
        dead: list[bool] = []
        for shares, count in zip(dealt, counts, strict=True):
            own = [found[place] for place in shares[self._me]]
            picks += [*own, *[filler] * (count - len(own))]
            dead += [False] * len(own) + [True] * (count - len(own))
        whole = together([*window, *arrived], picks, self.pad_id)
        whole, ends = whole.dead(torch.tensor(dead, device=whole.device)), list(accumulate(counts))
        return [
            trimmed(whole.taking(range(end - count, end)), self.multiple).raw
            for end, count in zip(ends, counts, strict=True)
        ]

    def _arrived(
        self, dealt: Sequence[Sequence[Sequence[Place]]], window: Sequence[Batch], rows: Sequence[tuple[int, int]]
    ) -> tuple[list[Batch], dict[Place, tuple[int, int]]]:
        """What other processes have sent: a batch of each, and where in these, behind the window, each row is."""
        moved = [
            (to, place) for shares in dealt for to, own in enumerate(shares) for place in own if place.process != to
        ]
        if not moved:
            return [], {}
        leaving: dict[int, list[tuple[int, int]]] = {}
        coming: dict[int, list[Place]] = {}
        for to, place in moved:
            if place.process == self._me:
                leaving.setdefault(to, []).append(rows[place.row])
            if to == self._me:
                coming.setdefault(place.process, []).append(place)
        parcels = {to: dict(together(window, own, self.pad_id).raw) for to, own in leaving.items()}
        came = exchange(parcels, self.accelerator)
        found = {
            place: (len(window) + part, row)
            for part, source in enumerate(came)
            for row, place in enumerate(coming[source])
        }
        return [Batch(raw) for raw in came.values()], found

    @property
    def _me(self) -> int:
        return self.accelerator.process_index
