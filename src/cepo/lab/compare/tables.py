"""Results as tables: Table 1's form, paired differences, cost, diagnostics. Markdown to read, CSV and JSON to use.

Markdown is in percent and points; CSV and JSON hold shares in [0, 1], seconds and tokens. A row with a missing run
is shown as missing, never as the mean of the runs that are there; n/a is what has no value by its nature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import pandas as pd

from cepo.lab.compare.contrasts import Contrast
from cepo.lab.compare.credited import COLUMNS as CREDITED
from cepo.lab.compare.results import Line, Outcome, Results, RunResult
from cepo.stats import Difference, Estimate, cluster_values, mean_interval, p_text

__all__ = [
    "AVERAGE", "MISSING", "Cell", "Table", "accuracy_table", "contrast_table", "cost_table", "credit_table",
    "diagnostics_table", "over_seeds", "over_seeds_or_none",
]  # fmt: skip

AVERAGE = "average"
MISSING, ABSENT = "missing", "n/a"
_PHASES = ("generation", "credit", "update")
_TRAINING = {"training length": "completions/mean_length", "training truncated": "completions/clipped_ratio"}


@dataclass(frozen=True, slots=True)
class Cell:
    """Mean over seeds with its 95% interval, the standard deviation (None: too few values), and the seeds' values."""

    estimate: Estimate
    std: float | None
    values: tuple[float, ...]

    def text(self, scale: float, digits: int, *, interval: bool) -> str:
        """`mean ± std`, and the interval if asked for."""
        text = Estimate(self.estimate.mean).text(digits, scale=scale)
        if self.std is not None:
            text += f" ± {scale * self.std:.{digits}f}"
        return f"{text} {self.estimate.interval_text(digits, scale=scale)}".rstrip() if interval else text


Row = Mapping[str, Cell | None]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; a row that is None has missing runs, a cell that is None has no value.

    `scale` turns the stored values of a column into those of the Markdown.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, Row | None]
    scale: Mapping[str, float]

    def long(self) -> pd.DataFrame:
        """One line per cell: row, column, mean, std, low, high, and the values in words."""
        lines = []
        for name, row in self.rows.items():
            for column in self.columns:
                line = {"row": name, "column": column, "mean": None, "std": None, "low": None, "high": None}
                if row is None or (cell := row[column]) is None:
                    lines.append({**line, "values": MISSING if row is None else ABSENT})
                else:
                    values = " ".join(f"{value:.6g}" for value in cell.values)
                    lines.append({**line, **cell.estimate._asdict(), "std": cell.std, "values": values})
        return pd.DataFrame(lines)

    def wide(self, *, interval: Sequence[str] = (), digits: int = 1) -> pd.DataFrame:
        """Cells as text, with the 95% interval in the columns named by `interval`."""
        return pd.DataFrame(
            {"": name, **{column: self._text(row, column, digits, column in interval) for column in self.columns}}
            for name, row in self.rows.items()
        )

    def _text(self, row: Row | None, column: str, digits: int, interval: bool) -> str:
        if row is None or (cell := row[column]) is None:
            return MISSING if row is None else ABSENT
        return cell.text(self.scale[column], digits, interval=interval)


def over_seeds(values: Sequence[float]) -> Cell:
    """Student's interval over the seeds; for one value neither spread nor interval."""
    if len(values) < 2:
        return Cell(Estimate(values[0]), None, tuple(values))
    return Cell(mean_interval(values), stdev(values), tuple(values))


def over_seeds_or_none(values: Sequence[float | None]) -> Cell | None:
    """The same of every seed's value; None where one has none."""
    known = [value for value in values if value is not None]
    return over_seeds(known) if known and len(known) == len(values) else None


def accuracy_table(results: Results) -> Table:
    """Table 1's form: base and every arm, by family and over all problems (`average`).

    The untrained model has no seeds: its interval is over problems.
    """
    columns = (*results.families, AVERAGE)

    def cells(runs: Sequence[RunResult]) -> Row:
        return {column: over_seeds([run.final.accuracy(_family(column)) for run in runs]) for column in columns}

    table = _by_arm(results, dict.fromkeys(columns, 100.0), cells)
    if results.base is None:
        return table
    return _below({column: _base_cell(results.base, column) for column in columns}, table)


def _family(column: str) -> str | None:
    return None if column == AVERAGE else column


def _base_cell(base: Outcome, column: str) -> Cell:
    names = [name for name in base.correct if column in (AVERAGE, base.families.get(name))]
    values = cluster_values([base.correct[name] for name in names], [base.clusters[name] for name in names])
    mean = base.accuracy(_family(column))
    estimate = Estimate(mean) if len(values) < 2 else mean_interval(values)._replace(mean=mean)
    return Cell(estimate, None, (mean,))


def contrast_table(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """The paired differences as text, in points."""

    def interval(difference: Difference | None) -> str:
        return "one seed" if difference is None else difference.estimate.interval_text(sign=True)

    lines = []
    for contrast in contrasts:
        verdict, line = contrast.verdict, {"difference": f"{contrast.arm} - {contrast.other}", "points": MISSING}
        if verdict is not None:
            line |= {
                "points": f"{100 * verdict.mean:+.1f}",
                "95% over seeds and problems": interval(contrast.both),
                "p": p_text(verdict.p),
                "p (Holm)": "" if contrast.p_holm is None else p_text(contrast.p_holm),
                "over seeds": interval(contrast.seeds),
                "over problems": interval(contrast.problems),
            }
        lines.append(line)
    columns = ["difference", "points", "95% over seeds and problems", "p", "p (Holm)", "over seeds", "over problems"]
    return pd.DataFrame(lines, columns=columns).fillna("")


def cost_table(results: Results) -> Table:
    """Seconds per optimiser step by phase, mean over steps, over seeds: CPU seconds, then the wall's."""
    names = [*_PHASES, "total"]
    columns = [f"{name} {clock}" for clock in ("CPU s", "wall s") for name in names]
    columns.append("credit CPU s while lambda > 0")

    def cells(runs: Sequence[RunResult]) -> Row:
        per_run = [_seconds(run.metrics) for run in runs]
        return {column: over_seeds_or_none([seconds.get(column) for seconds in per_run]) for column in columns}

    return _by_arm(results, dict.fromkeys(columns, 1.0), cells)


def _seconds(metrics: Sequence[Line]) -> dict[str, float]:
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

    def cells(runs: Sequence[RunResult]) -> Row:
        return {column: over_seeds_or_none([run.credited.get(column) for run in runs]) for column in CREDITED}

    return _by_arm(results, dict.fromkeys(CREDITED, 100.0), cells)


def diagnostics_table(results: Results) -> Table:
    """What distribution matching is said to break: length, truncation, and answers before their derivation."""
    held_out: dict[str, Callable[[Outcome], float | None]] = {
        "truncated": lambda outcome: outcome.truncated,
        "no answer": lambda outcome: outcome.no_answer,
        "answer first": lambda outcome: outcome.derivation.answer_first,
        "shortened": lambda outcome: outcome.derivation.shortened,
    }

    def read_all(outcomes: Sequence[Outcome]) -> Row:
        return {name: over_seeds_or_none([read(one) for one in outcomes]) for name, read in held_out.items()}

    def cells(runs: Sequence[RunResult]) -> Row:
        logged = {
            name: over_seeds_or_none([_mean(run.metrics, key) for run in runs]) for name, key in _TRAINING.items()
        }
        return {**logged, **read_all([run.final for run in runs])}

    scale = {"training length": 1.0, "training truncated": 100.0} | dict.fromkeys(held_out, 100.0)
    table = _by_arm(results, scale, cells)
    if results.base is None:
        return table
    return _below({**dict.fromkeys(_TRAINING), **read_all([results.base])}, table)


def _by_arm(results: Results, scale: Mapping[str, float], cells: Callable[[Sequence[RunResult]], Row]) -> Table:
    """A row for each arm under the columns of `scale`."""
    complete = {arm: results.complete(arm) for arm in results.arms}
    rows = {arm: None if runs is None else cells(runs) for arm, runs in complete.items()}
    return Table(tuple(scale), rows, scale)


def _below(base: Row, table: Table) -> Table:
    """The table with the untrained model's row on top."""
    return replace(table, rows={"base": base, **table.rows})


def _mean(metrics: Sequence[Line], key: str) -> float | None:
    values = [line[key] for line in metrics if line.get(key) is not None]
    return fmean(values) if values else None
