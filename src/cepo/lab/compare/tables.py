"""Results as tables: Table 1's form, paired differences, cost, diagnostics. Markdown to read, CSV and JSON to use.

Markdown is in percent and points; CSV and JSON hold shares in [0, 1], seconds and tokens. A row with a missing run
is shown as missing, never as the mean of the runs that are there; n/a is what has no value by its nature.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from cepo.lab.compare.contrasts import Contrast
from cepo.lab.compare.credited import COLUMNS as CREDITED
from cepo.lab.compare.results import Outcome, Results, RunResult
from cepo.lab.compare.words import p_text
from cepo.stats import cluster_values, mean_interval

__all__ = [
    "AVERAGE", "Cell", "Table", "accuracy_table", "contrast_grid", "cost_table", "credit_table", "csv_text",
    "diagnostics_table", "grid", "markdown", "over_seeds",
]  # fmt: skip

AVERAGE = "average"
MISSING, ABSENT = "missing", "n/a"
_PHASES = ("generation", "credit", "update")


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean over seeds with standard deviation and 95% interval (None where there are too few values)."""

    mean: float
    std: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; a row that is None has missing runs, a cell that is None has no value.

    `scale` turns the stored values of a column into those of the Markdown.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Cell | None] | None]
    scale: Mapping[str, float]

    def long(self) -> list[dict[str, Any]]:
        """One record per cell."""
        records = []
        for row, cells in self.rows.items():
            for column in self.columns:
                cell = cells[column] if cells is not None else None
                values: dict[str, Any] = asdict(cell) if cell else dict.fromkeys(("mean", "std", "low", "high"))
                absent = MISSING if cells is None else ABSENT
                values["values"] = " ".join(f"{value:.6g}" for value in cell.values) if cell else absent
                records.append({"row": row, "column": column, **values})
        return records


def over_seeds(values: Sequence[float]) -> Cell:
    """Student's interval over the seeds; for one value neither spread nor interval."""
    if len(values) < 2:
        return Cell(values[0], None, None, None, tuple(values))
    mean, low, high = mean_interval(values)
    return Cell(mean, stdev(values), low, high, tuple(values))


def accuracy_table(results: Results) -> Table:
    """Table 1's form: base and every arm, by family and over all problems (`average`).

    The untrained model has no seeds: its interval is over problems.
    """
    columns = (*results.families, AVERAGE)

    def cells(runs: Sequence[RunResult]) -> dict[str, Cell | None]:
        return {column: over_seeds([run.final.accuracy(_family(column)) for run in runs]) for column in columns}

    table = _by_arm(results, columns, cells, dict.fromkeys(columns, 100.0))
    if results.base is None:
        return table
    base = {column: _base_cell(results.base, column) for column in columns}
    return Table(columns, {"base": base, **table.rows}, table.scale)


def _family(column: str) -> str | None:
    return None if column == AVERAGE else column


def _base_cell(base: Outcome, column: str) -> Cell:
    names = [name for name in base.correct if column in (AVERAGE, base.families.get(name))]
    values = cluster_values([base.correct[name] for name in names], [base.clusters[name] for name in names])
    mean = base.accuracy(_family(column))
    if len(values) < 2:
        return Cell(mean, None, None, None, (mean,))
    _, low, high = mean_interval(values)
    return Cell(mean, None, low, high, (mean,))


def contrast_grid(contrasts: Sequence[Contrast]) -> list[str]:
    """The paired differences as a Markdown table, in points."""
    header = ["difference", "points", "95% over seeds and problems", "p", "p (Holm)", "over seeds", "over problems"]
    rows = []
    for contrast in contrasts:
        name = f"{contrast.arm} - {contrast.other}"
        verdict = contrast.verdict
        if verdict is None:
            rows.append([name, MISSING, *[""] * 5])
            continue
        both = _interval(contrast.both) if contrast.both else "one seed"
        seeds = _interval(contrast.seeds) if contrast.seeds else "one seed"
        p_holm = "" if contrast.p_holm is None else p_text(contrast.p_holm)
        problems = _interval(contrast.problems) if contrast.problems else ""
        rows.append([name, f"{100 * verdict.mean:+.1f}", both, p_text(verdict.p), p_holm, seeds, problems])
    return grid([header, *rows])


def cost_table(results: Results) -> Table:
    """Seconds per optimiser step by phase, mean over steps, over seeds: CPU seconds, then the wall's."""
    names = [*_PHASES, "total"]
    columns = [f"{name} {clock}" for clock in ("CPU s", "wall s") for name in names]
    columns.append("credit CPU s while lambda > 0")

    def cells(runs: Sequence[RunResult]) -> dict[str, Cell | None]:
        per_run = [_seconds(run.metrics) for run in runs]
        return {column: _seeds_or_none([seconds.get(column) for seconds in per_run]) for column in columns}

    return _by_arm(results, columns, cells, dict.fromkeys(columns, 1.0))


def _seconds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {}
    for clock, key in (("CPU s", "cpu_s"), ("wall s", "s")):
        means = {phase: _mean(metrics, f"phase/{phase}_{key}") for phase in _PHASES}
        known = {phase: mean for phase, mean in means.items() if mean is not None}
        found |= {f"{phase} {clock}": mean for phase, mean in known.items()}
        if len(known) == len(_PHASES):
            found[f"total {clock}"] = sum(known.values())
    active = [line for line in metrics if line.get("credit/lambda", 0) > 0]
    mean = _mean(active, "phase/credit_cpu_s")
    return found if mean is None else found | {"credit CPU s while lambda > 0": mean}


def credit_table(results: Results) -> Table:
    """How far the credit went from GRPO's, and where: the shares of `cepo.lab.compare.credited`."""

    def cells(runs: Sequence[RunResult]) -> dict[str, Cell | None]:
        return {column: _seeds_or_none([run.credited.get(column) for run in runs]) for column in CREDITED}

    return _by_arm(results, CREDITED, cells, dict.fromkeys(CREDITED, 100.0))


def diagnostics_table(results: Results) -> Table:
    """What distribution matching is said to break: length, truncation, and answers before their derivation."""
    training = {"training length": "completions/mean_length", "training truncated": "completions/clipped_ratio"}
    held_out: dict[str, Callable[[Outcome], float | None]] = {
        "truncated": lambda outcome: outcome.truncated,
        "no answer": lambda outcome: outcome.no_answer,
        "answer first": lambda outcome: outcome.derivation.answer_first,
        "shortened": lambda outcome: outcome.derivation.shortened,
    }

    def cells(runs: Sequence[RunResult]) -> dict[str, Cell | None]:
        logged = {name: _seeds_or_none([_mean(run.metrics, key) for run in runs]) for name, key in training.items()}
        return logged | {name: _seeds_or_none([read(run.final) for run in runs]) for name, read in held_out.items()}

    columns = [*training, *held_out]
    scale = {name: 1.0 if name == "training length" else 100.0 for name in columns}
    table = _by_arm(results, columns, cells, scale)
    if results.base is None:
        return table
    base = dict.fromkeys(training) | {name: _seeds_or_none([read(results.base)]) for name, read in held_out.items()}
    return Table(table.columns, {"base": base, **table.rows}, scale)


def _by_arm(
    results: Results,
    columns: Sequence[str],
    cells: Callable[[Sequence[RunResult]], dict[str, Cell | None]],
    scale: Mapping[str, float],
) -> Table:
    complete = {arm: results.complete(arm) for arm in results.arms}
    rows = {arm: None if runs is None else cells(runs) for arm, runs in complete.items()}
    return Table(tuple(columns), rows, scale)


def _seeds_or_none(values: Sequence[float | None]) -> Cell | None:
    known = [value for value in values if value is not None]
    return over_seeds(known) if known and len(known) == len(values) else None


def _mean(metrics: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [line[key] for line in metrics if line.get(key) is not None]
    return fmean(values) if values else None


def markdown(table: Table, *, interval: Sequence[str] = (), digits: int = 1) -> list[str]:
    """Rows as `mean ± std`, with the 95% interval in the columns named by `interval`."""
    lines = [["", *table.columns]]
    for row, cells in table.rows.items():
        lines.append([row])
        for column in table.columns:
            cell = cells[column] if cells is not None else None
            absent = MISSING if cells is None else ABSENT
            text = _cell_text(cell, table.scale[column], digits, column in interval) if cell else absent
            lines[-1].append(text)
    return grid(lines)


def grid(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; its first line is the header."""
    header, *rows = ["| " + " | ".join(line) + " |" for line in lines]
    return [header, "|" + "---|" * len(lines[0]), *rows]


def _cell_text(cell: Cell, scale: float, digits: int, interval: bool) -> str:
    text = f"{scale * cell.mean:.{digits}f}"
    if cell.std is not None:
        text += f" ± {scale * cell.std:.{digits}f}"
    if interval and cell.low is not None and cell.high is not None:
        text += f" [{scale * cell.low:.{digits}f}, {scale * cell.high:.{digits}f}]"
    return text


def _interval(difference: Any) -> str:
    return f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, their keys as the header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()
