"""Everything that an audit measured, by what it was measured on; differences keep their pairing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cepo.lab.audit.metrics import Floats, Measured, summarise

__all__ = ["Cell", "Ledger", "Part"]

Part = Literal["sampled", "worked", "profile", "montecarlo", "null", "sensitivity"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the table.

    `variant`: how the evidence was made. `level`: what else was fixed (a dead zone, a group size, a bin), "" for
    nothing. `measure`: what was measured.
    """

    part: Part
    variant: str
    level: str
    measure: str


class Ledger:
    """Estimates with their resamples. All cells come from the same resamples of problems, so that two can be paired."""

    def __init__(self) -> None:
        self._values: dict[Cell, Floats] = {}
        self._problems: dict[Cell, int] = {}

    def add(self, cell: Cell, value_R: Floats, problem_N: NDArray[np.int64]) -> None:
        """`problem_N`: the problem of everything that was measured on; their number goes with the estimate."""
        self._values[cell] = value_R
        self._problems[cell] = len(np.unique(problem_N))

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._values

    def __getitem__(self, cell: Cell) -> Measured:
        """The estimate; nothing measured where the cell is not there."""
        if cell not in self._values:
            return Measured(None, None, None, 0)
        return summarise(self._values[cell], self._problems[cell])

    def difference(self, one: Cell, other: Cell) -> Measured:
        """`one` less `other`, resample by resample."""
        if one not in self._values or other not in self._values:
            return Measured(None, None, None, 0)
        problems = min(self._problems[one], self._problems[other])
        return summarise(self._values[one] - self._values[other], problems)

    def cells(self) -> Iterator[tuple[Cell, Measured]]:
        """Every cell in the order it was added."""
        for cell in self._values:
            yield cell, self[cell]
