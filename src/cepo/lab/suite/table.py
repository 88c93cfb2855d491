"""The paper's Table 1 with our rows: Markdown, CSV, JSON. Averages are computed here, from unrounded cells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cepo.errors import RecordError
from cepo.lab.suite.parse import Measured
from cepo.lab.suite.run import Outcome
from cepo.lab.suite.tasks import PAPER, PUBLISHED_AVERAGES, Benchmark, Suite
from cepo.lab.tables import csv_text, markdown, records
from cepo.stats import Estimate, wilson_interval

__all__ = ["Cell", "make_table", "read_published", "save_table", "to_markdown"]

_AVERAGE = "Average"
_ROUNDING = 0.0051
"""A printed average may be off by so much."""


class Cell(NamedTuple):
    """One model on one benchmark: percent with a 95% interval (None: not known); a line of the CSV.

    `note` says why there is no number, or what is odd about it.
    """

    row: str
    published: bool
    benchmark: str
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    note: str | None = None

    @property
    def title(self) -> str:
        return f"{self.row} (published)" if self.published else self.row

    @property
    def text(self) -> str:
        return "–" if self.percent is None else Estimate(self.percent, self.low, self.high).text(2, scale=1.0)


def make_table(suite: Suite, outcomes: Sequence[Outcome], published: Sequence[Cell] | None = None) -> list[Cell]:
    """Our rows in the order of the outcomes, then the published ones (default: the averages that we know)."""
    by_model: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, {})[outcome.benchmark.task] = outcome
    cells = []
    for found in by_model.values():
        cells += _with_average([_cell(found[benchmark.task]) for benchmark in suite.benchmarks])
    if published is None:
        published = _known_averages() if suite is PAPER else []
    return [*cells, *published]


def to_markdown(cells: Sequence[Cell]) -> str:
    """One line per row, and notes below."""
    rows: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for cell in cells:
        if cell.note is not None:
            notes.append(f"- ({len(notes) + 1}) {cell.row}, {cell.benchmark}: {cell.note}")
        mark = "" if cell.note is None else f" ({len(notes)})"
        rows.setdefault(cell.title, {"": cell.title})[cell.benchmark] = cell.text + mark
    lines = markdown(pd.DataFrame(list(rows.values())))
    lines += ["", "Percent; 95% intervals of our rows in brackets. They cover the draw of problems, not of seeds."]
    return "\n".join([*lines, *notes, ""])


def save_table(cells: Sequence[Cell], folder: Path) -> None:
    """Write `table.md`, `table.csv` and `table.json`: one line, or one record, per row and benchmark."""
    frame = pd.DataFrame(cells, columns=list(Cell._fields))
    content = json.dumps(records(frame), indent=1) + "\n"
    for suffix, text in (("md", to_markdown(cells)), ("csv", csv_text(frame)), ("json", content)):
        (folder / f"table.{suffix}").write_text(text, encoding="utf-8")


def read_published(file: Path, suite: Suite) -> list[Cell]:
    """Published rows from a CSV with the columns `row`, the suite's benchmarks, and maybe `Average` as printed.

    The average is computed from the cells; a printed one that is off by more than rounding is noted.

    Raises:
        RecordError: a missing column, or a cell that is no percentage.
    """
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    names = [benchmark.name for benchmark in suite.benchmarks]
    if missing := [name for name in ("row", *names) if name not in frame.columns]:
        raise RecordError(f"{file} lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)}")
    cells = []
    for index, line in enumerate(frame.to_dict("records"), start=2):
        cells += _published(line, names, f"{file}, line {index}")
    return cells


def _published(line: Mapping[str, str], names: Sequence[str], where: str) -> list[Cell]:
    cells = _with_average([Cell(line["row"], True, name, _percent(line[name], f"{where}, {name}")) for name in names])
    average = cells[-1]
    if average.benchmark == _AVERAGE and average.percent is not None and line.get(_AVERAGE):
        printed = _percent(line[_AVERAGE], f"{where}, {_AVERAGE}")
        if abs(printed - average.percent) > _ROUNDING:
            note = f"{printed:.2f} is printed; the average of the cells is shown"
            cells[-1] = average._replace(note=note)
    return cells


def _percent(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise RecordError(f"{where}: expected a percentage from 0 to 100, got {text!r}")
    return value


def _known_averages() -> list[Cell]:
    notes = {"RLSD 2B": "40.05 is printed; the average of its own five cells is shown"}
    cells = []
    for name, value in PUBLISHED_AVERAGES.items():
        cells += [Cell(name, True, benchmark.name) for benchmark in PAPER.benchmarks]
        cells.append(Cell(name, True, _AVERAGE, value, note=notes.get(name)))
    return cells


def _cell(outcome: Outcome) -> Cell:
    found, empty = outcome.measured, Cell(outcome.model, False, outcome.benchmark.name)
    if found is None:
        return empty._replace(note=f"failed: {outcome.error}")
    trials = _trials(found, outcome.benchmark)
    low, high = wilson_interval(round(trials * found.percent / 100), trials).bounds
    # A mean over clusters or a rounded count may lie a hair outside the interval of whole successes.
    low, high = min(100 * low, found.percent), max(100 * high, found.percent)
    part = None if found.rows == found.of else f"the first {found.rows} of {found.of} rows only"
    return empty._replace(percent=found.percent, low=low, high=high, note=part)


def _trials(found: Measured, benchmark: Benchmark) -> int:
    """Independent problems behind a number: rows that are variants of one problem count as one."""
    if benchmark.problems is None or benchmark.problems >= found.of:
        return found.rows
    return max(1, round(found.rows * benchmark.problems / found.of))


def _with_average(cells: list[Cell]) -> list[Cell]:
    """The cells of a row, and their average where they are more than one."""
    return cells if len(cells) == 1 else [*cells, _average(cells)]


def _average(cells: Sequence[Cell]) -> Cell:
    """Mean of the cells, with the half widths of their intervals added in squares: benchmarks are independent."""
    empty = Cell(cells[0].row, cells[0].published, _AVERAGE)
    values = [cell.percent for cell in cells if cell.percent is not None]
    if len(values) < len(cells):
        return empty._replace(note="a benchmark is missing")
    mean = sum(values) / len(values)
    ends = [(cell.low, cell.high) for cell in cells if cell.low is not None and cell.high is not None]
    if len(ends) < len(cells):
        return empty._replace(percent=mean)
    half = math.hypot(*((high - low) / 2 for low, high in ends)) / len(ends)
    part = "of benchmarks that were not run whole" if any(cell.note for cell in cells) else None
    return empty._replace(percent=mean, low=max(0.0, mean - half), high=min(100.0, mean + half), note=part)
