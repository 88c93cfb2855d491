"""Figures as PNG and SVG, each with its data as CSV beside it.

Colours are Okabe and Ito's, which stay apart for colour-blind eyes; arms also differ by marker and line style. A band
or bar is the 95% interval over seeds. The baseline is black.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cepo.lab.compare.curves import EVIDENCE
from cepo.lab.tables import csv_text
from cepo.stats import Estimate

__all__ = [
    "accuracy_figure", "difference_figure", "distribution_figure", "evidence_figure", "save_figure", "sweep_figure",
]  # fmt: skip

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BASELINE = "#000000"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_KINDS = {"positive": "#0072B2", "negative": "#D55E00", "zero": "#7F7F7F"}
_STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "svg.hashsalt": "cepo", "svg.fonttype": "none", "legend.frameon": False,
}  # fmt: skip


class _Look(NamedTuple):
    """A line's label, colour, line style and marker."""

    label: str
    colour: str
    line: str
    marker: str = ""


_styled = matplotlib.rc_context(_STYLE)  # pyright: ignore[reportArgumentType]


@_styled
def accuracy_figure(curves: pd.DataFrame, baseline: str, note: str) -> Figure:
    """Accuracy in percent against steps, a line with its band for each arm; `note` stands under the axes."""
    figure, (axes,) = _panels(1, note)
    _draw_arms(axes, curves, baseline, scale=100.0)
    axes.set(xlabel="optimiser step", ylabel="held-out accuracy (%)")
    axes.legend()
    _within_percent(axes)
    return figure


@_styled
def difference_figure(found: pd.DataFrame, measure: str, other: str, note: str) -> Figure:
    """A measure less that of `other`, in points, a row for each arm with its interval; no difference is a line.

    An interval that holds 0 is drawn hollow and grey: no difference shown.
    """
    figure = Figure(figsize=(6.5, 1.1 + 0.34 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axvline(0.0, color=_BASELINE, linewidth=1)
    for place, estimate in enumerate(_estimates(found)):
        colour = {1: _KINDS["positive"], -1: _KINDS["negative"]}.get(estimate.side or 0, _KINDS["zero"])
        face = "white" if estimate.side == 0 else colour
        axes.plot([100 * end for end in estimate.bounds], [place, place], color=colour, linewidth=2)
        axes.plot([100 * estimate.mean], [place], "o", color=colour, markerfacecolor=face, markersize=6)
        beside = (1.02, place)
        axes.annotate(estimate.text(sign=True), beside, xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(range(len(found)), list(found["arm"]))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{measure} less {other}'s (points)")
    figure.supxlabel(note, fontsize=7, color="#444444")
    return figure


@_styled
def sweep_figure(curve: pd.DataFrame, field: str, baseline: tuple[str, Estimate] | None, note: str) -> Figure:
    """Final accuracy in percent against a swept value, with error bars; the baseline as a line with its band."""
    figure, (axes,) = _panels(1, note)
    known = curve.dropna(subset=["mean"])
    at, numeric = _positions(list(curve[field]))
    mean, low, high = _scaled(known, 100.0)
    places = [at[value] for value in known[field]]
    axes.errorbar(places, mean, yerr=(mean - low, high - mean), color=_COLOURS[0], marker="o", capsize=3)
    if baseline is not None:
        name, estimate = baseline
        axes.axhline(100 * estimate.mean, color=_BASELINE, linestyle="--", label=name)
        if estimate.low is not None and estimate.high is not None:
            axes.axhspan(100 * estimate.low, 100 * estimate.high, color=_BASELINE, alpha=0.1, linewidth=0)
        axes.legend()
    if not numeric:
        axes.set_xticks(list(at.values()), list(at))
    axes.set(xlabel=field, ylabel="held-out accuracy (%)")
    _within_percent(axes)
    return figure


@_styled
def evidence_figure(curves: pd.DataFrame, note: str) -> Figure:
    """Fractions of tokens by the sign of their evidence against steps, a panel for each arm."""
    arms = list(curves.groupby("arm", sort=False))
    figure, panels = _panels(len(arms), note)
    for axes, (arm, points) in zip(panels, arms, strict=True):
        for kind, line in zip(EVIDENCE, _LINES, strict=False):
            _draw(axes, points.query("kind == @kind"), _Look(kind, _KINDS[kind], line), scale=100.0)
        axes.set(title=arm, xlabel="optimiser step", ylim=(0, 100))
    panels[0].set_ylabel("credited tokens (%)")
    panels[0].legend(title="evidence")
    return figure


@_styled
def distribution_figure(lengths: pd.DataFrame, answers_first: pd.DataFrame, baseline: str, note: str) -> Figure:
    """Length of the training completions and, where there are solutions, how often answers come first."""
    figure, panels = _panels(1 if answers_first.empty else 2, note)
    _draw_arms(panels[0], lengths, baseline, scale=1.0, marked=False)
    panels[0].set(xlabel="optimiser step", ylabel="completion length (tokens)")
    panels[0].legend()
    if not answers_first.empty:
        _draw_arms(panels[1], answers_first, baseline, scale=100.0)
        panels[1].set(xlabel="optimiser step", ylabel="answer before derivation (%)")
        _within_percent(panels[1])
    return figure


@_styled
def save_figure(figure: Figure, data: pd.DataFrame, stem: Path) -> list[Path]:
    """`stem`.png, .svg and .csv; equal figures give equal files."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "csv")]
    figure.savefig(paths[0], dpi=160, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    paths[2].write_text(csv_text(data))
    return paths


def _panels(count: int, note: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(max(5.5, 3.6 * count), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False)[0]
    figure.supxlabel(note, fontsize=7, color="#444444")
    return figure, list(panels)


def _draw_arms(axes: Axes, curves: pd.DataFrame, baseline: str, *, scale: float, marked: bool = True) -> None:
    others, arms = 0, list(curves.groupby("arm", sort=False))
    band = min(0.15, 0.4 / max(1, len(arms)))  # many that overlap would hide each other
    for index, (arm, points) in enumerate(arms):
        colour = _BASELINE if arm == baseline else _COLOURS[others % len(_COLOURS)]
        others += arm != baseline
        line = _LINES[(index // len(_COLOURS)) % len(_LINES)]
        look = _Look(str(arm), colour, line, _MARKERS[index % len(_MARKERS)] if marked else "")
        _draw(axes, points, look, scale, band)


def _draw(axes: Axes, points: pd.DataFrame, look: _Look, scale: float, band: float = 0.15) -> None:
    mean, low, high = _scaled(points, scale)
    label, colour, line, marker = look
    axes.plot(points["step"], mean, label=label, color=colour, linestyle=line, marker=marker, markersize=4)
    axes.fill_between(points["step"], low, high, color=colour, alpha=band, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _within_percent(axes: Axes) -> None:
    """Student's interval of few seeds can pass 0 and 100, where there is nothing to see."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1.0), min(high, 101.0))


def _scaled(points: pd.DataFrame, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and bounds; a bound that is not there (one seed) is the mean: no band."""
    mean, low, high = (scale * points[name].to_numpy(dtype=float) for name in ("mean", "low", "high"))
    return mean, np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)


def _estimates(found: pd.DataFrame) -> list[Estimate]:
    return [Estimate(*line) for line in found[["mean", "low", "high"]].itertuples(index=False, name=None)]


def _positions(values: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Where values stand on the axis: at themselves where all are numbers, else in their order."""
    try:
        return {value: float(value) for value in values}, True
    except ValueError:
        return {value: float(index) for index, value in enumerate(values)}, False
