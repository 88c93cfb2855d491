"""Figures as PNG and SVG, each with its data as CSV beside it.

Colours are Okabe and Ito's, which stay apart for colour-blind eyes; arms also differ by marker and line style. A band
or bar is the 95% interval over seeds. The baseline is black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cepo.lab.compare.curves import EVIDENCE
from cepo.lab.compare.tables import Cell, csv_text

__all__ = [
    "accuracy_figure",
    "difference_figure",
    "distribution_figure",
    "evidence_figure",
    "save_figure",
    "sweep_figure",
]

Record = Mapping[str, Any]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BASELINE = "#000000"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_KINDS = {"positive": "#0072B2", "negative": "#D55E00", "zero": "#7F7F7F"}
_STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "svg.hashsalt": "cepo", "svg.fonttype": "none", "legend.frameon": False,
}  # fmt: skip


@matplotlib.rc_context(_STYLE)
def accuracy_figure(records: Sequence[Record], baseline: str, note: str) -> Figure:
    """Accuracy in percent against steps, a line with its band for each arm; `note` stands under the axes."""
    figure, (axes,) = _panels(1, note)
    _draw_arms(axes, records, baseline, scale=100.0)
    axes.set(xlabel="optimiser step", ylabel="held-out accuracy (%)")
    axes.legend()
    _within_percent(axes)
    return figure


@matplotlib.rc_context(_STYLE)
def difference_figure(records: Sequence[Record], other: str, note: str) -> Figure:
    """Final accuracy less that of `other`, in points, a row for each arm with its interval; no difference is a line.

    An interval that holds 0 is drawn hollow and grey: no difference shown.
    """
    figure = Figure(figsize=(6.5, 1.1 + 0.34 * len(records)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axvline(0.0, color=_BASELINE, linewidth=1)
    for place, record in enumerate(records):
        mean, low, high = (_scaled(record[name], record["mean"]) for name in _BOUNDS)
        open_ = low <= 0.0 <= high
        colour = _KINDS["zero" if open_ else "positive" if mean > 0 else "negative"]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([mean], [place], "o", color=colour, markerfacecolor="white" if open_ else colour, markersize=6)
        axes.annotate(
            f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", (1.02, place), xycoords=("axes fraction", "data"), va="center"
        )
    axes.set_yticks(range(len(records)), [record["arm"] for record in records])
    axes.set_ylim(len(records) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"held-out accuracy less {other}'s (points)")
    figure.supxlabel(note, fontsize=7, color="#444444")
    return figure


@matplotlib.rc_context(_STYLE)
def sweep_figure(records: Sequence[Record], field: str, baseline: tuple[str, Cell] | None, note: str) -> Figure:
    """Final accuracy in percent against a swept value, with error bars; the baseline as a line with its band."""
    figure, (axes,) = _panels(1, note)
    known = [record for record in records if record["mean"] is not None]
    at, numeric = _positions([record[field] for record in records])
    places = [at[record[field]] for record in known]
    means, lows, highs = ([_scaled(record[name], record["mean"]) for record in known] for name in _BOUNDS)
    errors = (
        [mean - low for mean, low in zip(means, lows, strict=True)],
        [high - mean for mean, high in zip(means, highs, strict=True)],
    )
    axes.errorbar(places, means, yerr=errors, color=_COLOURS[0], marker="o", capsize=3)
    if baseline is not None:
        name, cell = baseline
        axes.axhline(100 * cell.mean, color=_BASELINE, linestyle="--", label=name)
        if cell.low is not None and cell.high is not None:
            axes.axhspan(100 * cell.low, 100 * cell.high, color=_BASELINE, alpha=0.1, linewidth=0)
        axes.legend()
    if not numeric:
        axes.set_xticks(list(at.values()), list(at))
    axes.set(xlabel=field, ylabel="held-out accuracy (%)")
    _within_percent(axes)
    return figure


@matplotlib.rc_context(_STYLE)
def evidence_figure(records: Sequence[Record], note: str) -> Figure:
    """Fractions of tokens by the sign of their evidence against steps, a panel for each arm."""
    arms = list(dict.fromkeys(record["arm"] for record in records))
    figure, panels = _panels(len(arms), note)
    for axes, arm in zip(panels, arms, strict=True):
        for index, kind in enumerate(EVIDENCE):
            points = [record for record in records if record["arm"] == arm and record["kind"] == kind]
            _draw(axes, points, kind, _KINDS[kind], _LINES[index], marker="", scale=100.0)
        axes.set(title=arm, xlabel="optimiser step", ylim=(0, 100))
    panels[0].set_ylabel("credited tokens (%)")
    panels[0].legend(title="evidence")
    return figure


@matplotlib.rc_context(_STYLE)
def distribution_figure(lengths: Sequence[Record], answers_first: Sequence[Record], baseline: str, note: str) -> Figure:
    """Length of the training completions and, where there are solutions, how often answers come first."""
    figure, panels = _panels(2 if answers_first else 1, note)
    _draw_arms(panels[0], lengths, baseline, scale=1.0, marked=False)
    panels[0].set(xlabel="optimiser step", ylabel="completion length (tokens)")
    panels[0].legend()
    if answers_first:
        _draw_arms(panels[1], answers_first, baseline, scale=100.0)
        panels[1].set(xlabel="optimiser step", ylabel="answer before derivation (%)")
        _within_percent(panels[1])
    return figure


def save_figure(figure: Figure, records: Sequence[Record], stem: Path) -> list[Path]:
    """`stem`.png, .svg and .csv; equal figures give equal files."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "csv")]
    with matplotlib.rc_context(_STYLE):
        figure.savefig(paths[0], dpi=160, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    paths[2].write_text(csv_text(records))
    return paths


_BOUNDS = ("mean", "low", "high")


def _panels(count: int, note: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(max(5.5, 3.6 * count), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False)[0]
    figure.supxlabel(note, fontsize=7, color="#444444")
    return figure, list(panels)


def _draw_arms(axes: Axes, records: Sequence[Record], baseline: str, *, scale: float, marked: bool = True) -> None:
    others, arms = 0, list(dict.fromkeys(record["arm"] for record in records))
    band = min(0.15, 0.4 / max(1, len(arms)))  # many that overlap would hide each other
    for index, arm in enumerate(arms):
        colour = _BASELINE if arm == baseline else _COLOURS[others % len(_COLOURS)]
        others += arm != baseline
        line = _LINES[(index // len(_COLOURS)) % len(_LINES)]
        points = [record for record in records if record["arm"] == arm]
        _draw(axes, points, arm, colour, line, _MARKERS[index % len(_MARKERS)] if marked else "", scale, band)


def _draw(
    axes: Axes,
    points: Sequence[Record],
    label: str,
    colour: str,
    line: str,
    marker: str,
    scale: float,
    band: float = 0.15,
) -> None:
    steps = [record["step"] for record in points]
    mean, low, high = ([_scaled(record[name], record["mean"], scale) for record in points] for name in _BOUNDS)
    axes.plot(steps, mean, label=label, color=colour, linestyle=line, marker=marker, markersize=4)
    axes.fill_between(steps, low, high, color=colour, alpha=band, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _within_percent(axes: Axes) -> None:
    """Student's interval of few seeds can pass 0 and 100, where there is nothing to see."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1.0), min(high, 101.0))


def _scaled(bound: float | None, mean: float, scale: float = 100.0) -> float:
    """A bound that is not there (one seed) is the mean: no band."""
    return scale * (mean if bound is None else bound)


def _positions(values: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Where values stand on the axis: at themselves where all are numbers, else in their order."""
    try:
        return {value: float(value) for value in values}, True
    except ValueError:
        return {value: float(index) for index, value in enumerate(values)}, False
