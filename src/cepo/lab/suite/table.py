"""The paper's Table 1 with our rows: Markdown, CSV, JSON. Averages are computed here, from unrounded cells."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cepo.lab.suite.parse import Measured
from cepo.lab.suite.run import Outcome
from cepo.lab.suite.tasks import PAPER, PUBLISHED_AVERAGES, Benchmark, Suite
from cepo.stats import wilson_interval

__all__ = ["Cell", "Row", "Table", "make_table", "read_published"]

_AVERAGE = "Average"


@dataclass(frozen=True, slots=True)
class Cell:
    """Percent with a 95% interval (None: not known); `note` says why there is no number, or what is odd about it."""

    percent: float | None
    low: float | None = None
    high: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One model: a cell for each benchmark, and their average."""

    name: str
    published: bool
    cells: tuple[Cell, ...]
    average: Cell


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of ours, then published ones, under the suite's columns."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_markdown(self) -> str:
        """One line per row, and notes below."""
        columns = _headings(self)
        lines = [f"| {' | '.join(('', *columns))} |", "|---" + "|---:" * len(columns) + "|"]
        notes: list[str] = []
        for row in self.rows:
            shown = [
                _shown(cell, notes, f"{row.name}, {name}") for name, cell in zip(columns, _cells(row), strict=True)
            ]
            lines.append(f"| {row.name}{' (published)' if row.published else ''} | {' | '.join(shown)} |")
        lines += ["", "Percent; 95% intervals of our rows in brackets. They cover the draw of problems, not of seeds."]
        return "\n".join([*lines, *(f"- {note}" for note in notes), ""])

    def to_csv(self) -> str:
        """One line per row and benchmark: row, published, benchmark, percent, low, high, note."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("row", "published", "benchmark", "percent", "low", "high", "note"))
        for row in self.rows:
            for name, cell in zip(_headings(self), _cells(row), strict=True):
                values = ("" if v is None else v for v in (cell.percent, cell.low, cell.high, cell.note))
                writer.writerow((row.name, row.published, name, *values))
        return out.getvalue()

    def to_json(self) -> str:
        """The same values, nested."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def save(self, folder: Path) -> None:
        """Write `table.md`, `table.csv` and `table.json`."""
        for suffix, text in (("md", self.to_markdown()), ("csv", self.to_csv()), ("json", self.to_json())):
            (folder / f"table.{suffix}").write_text(text, encoding="utf-8")


def make_table(suite: Suite, outcomes: Sequence[Outcome], published: Sequence[Row] | None = None) -> Table:
    """Our rows in the order of the outcomes, then the published ones (default: the averages that we know)."""
    by_model: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, {})[outcome.benchmark.task] = outcome
    ours = [
        _row(name, False, [_cell(found[benchmark.task]) for benchmark in suite.benchmarks])
        for name, found in by_model.items()
    ]
    if published is None:
        published = _known_averages() if suite is PAPER else []
    return Table(tuple(benchmark.name for benchmark in suite.benchmarks), (*ours, *published))


def read_published(file: Path, suite: Suite) -> list[Row]:
    """Published rows from a CSV with the columns `row`, the suite's benchmarks, and maybe `Average` as printed.

    The average is computed from the cells; a printed one that is off by more than rounding is noted.

    Raises:
        ValueError: a missing column, or a cell that is no percentage.
    """
    names = [benchmark.name for benchmark in suite.benchmarks]
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if missing := [name for name in ("row", *names) if name not in (reader.fieldnames or ())]:
            raise ValueError(
                f"{file} lacks the columns {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}"
            )
        return [_published(line, names, f"{file}, line {reader.line_num}") for line in reader]


def _published(line: dict[str, str], names: list[str], where: str) -> Row:
    cells = [Cell(_percent(line[name], f"{where}, {name}")) for name in names]
    row = _row(line["row"], True, cells)
    printed = line.get(_AVERAGE) or None
    if printed is not None and row.average.percent is not None:
        value = _percent(printed, f"{where}, {_AVERAGE}")
        if abs(value - row.average.percent) > 0.0051:
            average = Cell(row.average.percent, note=f"{value:.2f} is printed; the average of the cells is shown")
            return Row(row.name, True, row.cells, average)
    return row


def _percent(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise ValueError(f"{where}: expected a percentage from 0 to 100, got {text!r}")
    return value


def _known_averages() -> list[Row]:
    unknown = tuple(Cell(None) for _ in PAPER.benchmarks)
    notes = {"RLSD 2B": "40.05 is printed; the average of its own five cells is shown"}
    return [Row(name, True, unknown, Cell(value, note=notes.get(name))) for name, value in PUBLISHED_AVERAGES.items()]


def _cell(outcome: Outcome) -> Cell:
    found = outcome.measured
    if found is None:
        return Cell(None, note=f"failed: {outcome.error}")
    trials = _trials(found, outcome.benchmark)
    interval = wilson_interval(round(trials * found.percent / 100), trials)
    part = None if found.rows == found.of else f"the first {found.rows} of {found.of} rows only"
    # A mean over clusters or a rounded count may lie a hair outside the interval of whole successes.
    low, high = min(100 * interval.low, found.percent), max(100 * interval.high, found.percent)
    return Cell(found.percent, low, high, part)


def _trials(found: Measured, benchmark: Benchmark) -> int:
    """Independent problems behind a number: rows that are variants of one problem count as one."""
    if benchmark.problems is None or benchmark.problems >= found.of:
        return found.rows
    return max(1, round(found.rows * benchmark.problems / found.of))


def _row(name: str, published: bool, cells: list[Cell]) -> Row:
    return Row(name, published, tuple(cells), _average(cells))


def _average(cells: Sequence[Cell]) -> Cell:
    """Mean of the cells, with the half widths of their intervals added in squares: benchmarks are independent."""
    values = [cell.percent for cell in cells if cell.percent is not None]
    if len(values) < len(cells):
        return Cell(None, note="a benchmark is missing")
    mean = sum(values) / len(values)
    if any(cell.low is None or cell.high is None for cell in cells):
        return Cell(mean)
    widths = [((cell.high or 0.0) - (cell.low or 0.0)) / 2 for cell in cells]
    half = math.sqrt(sum(width**2 for width in widths)) / len(widths)
    part = "of benchmarks that were not run whole" if any(cell.note for cell in cells) else None
    return Cell(mean, max(0.0, mean - half), min(100.0, mean + half), part)


def _headings(table: Table) -> tuple[str, ...]:
    return table.columns if len(table.columns) == 1 else (*table.columns, _AVERAGE)


def _cells(row: Row) -> tuple[Cell, ...]:
    return row.cells if len(row.cells) == 1 else (*row.cells, row.average)


def _shown(cell: Cell, notes: list[str], where: str) -> str:
    mark = ""
    if cell.note is not None:
        notes.append(f"({len(notes) + 1}) {where}: {cell.note}")
        mark = f" ({len(notes)})"
    if cell.percent is None:
        return f"–{mark}"
    interval = "" if cell.low is None or cell.high is None else f" [{cell.low:.1f}, {cell.high:.1f}]"
    return f"{cell.percent:.2f}{interval}{mark}"
