"""Everything that an audit measured, by what it was measured on; differences keep their pairing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cepo.lab.audit.metrics import Floats, Ints, summarise
from cepo.stats import Estimate

__all__ = ["Cell", "Ledger", "Part"]

Part = Literal["first_error", "sampled", "worked", "profile", "montecarlo", "null", "sensitivity"]


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
    """Estimates with their resamples. All cells come from the same resamples of problems, so that two can be paired.

    Attributes:
        weight_RP: how often problem p stands in resample r; see `metrics`.
    """

    def __init__(self, weight_RP: Floats) -> None:
        self.weight_RP = weight_RP
        self._values: dict[Cell, Floats] = {}
        self._problems: dict[Cell, int] = {}

    def add(self, part: Part, variant: str, level: str, measured: Mapping[str, Floats], problem_N: Ints) -> None:
        """Measures by name, (R,) each; `problem_N`: the problem of everything that they were measured on."""
        problems = len(np.unique(problem_N))
        for measure, value_R in measured.items():
            cell = Cell(part, variant, level, measure)
            self._values[cell], self._problems[cell] = value_R, problems

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._values

    def __iter__(self) -> Iterator[Cell]:
        """Every cell in the order it was added."""
        return iter(self._values)

    def __getitem__(self, cell: Cell) -> Estimate | None:
        """The estimate with its interval over problems; None: nothing was measured."""
        return summarise(self._values[cell], self._problems[cell]) if cell in self._values else None

    def problems(self, *cells: Cell) -> int:
        """On how many problems the cell was measured; of several, on how many at least."""
        return min(self._problems.get(cell, 0) for cell in cells)

    def difference(self, one: Cell, other: Cell) -> Estimate | None:
        """`one` less `other`, resample by resample."""
        if one not in self._values or other not in self._values:
            return None
        return summarise(self._values[one] - self._values[other], self.problems(one, other))

    def levels(self, part: Part) -> list[tuple[str, str]]:
        """(level, variant) of every cell of a part, each once."""
        return list(dict.fromkeys((cell.level, cell.variant) for cell in self if cell.part == part))

    def frame(self) -> pd.DataFrame:
        """One row per cell: part, variant, level, measure, value, low, high, problems."""
        rows = [
            (cell.part, cell.variant, cell.level, cell.measure, *(self[cell] or (None,) * 3), self._problems[cell])
            for cell in self
        ]
        columns = ["part", "variant", "level", "measure", "value", "low", "high", "problems"]
        return pd.DataFrame(rows, columns=columns)
