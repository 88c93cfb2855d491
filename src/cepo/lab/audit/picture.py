"""The audit as one picture: every number with its 95% interval, told apart by colour, marker and place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from cepo.lab.audit.labelled import PROFILE_BINS
from cepo.lab.audit.ledger import Cell, Ledger, Part
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.run import AuditResult
from cepo.lab.audit.sensitivity import GROUP_SIZES

__all__ = ["draw"]

# Okabe and Ito's palette, told apart by readers with any colour vision.
_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"
_SERIES = (
    ("rlsd", _ORANGE, "s"),
    ("cepo-sampled", _BLUE, "o"),
    ("cepo-common", _SKY, "^"),
    ("cepo-own", _GREEN, "D"),
    ("cepo-marginal", _PURPLE, "v"),
)


def draw(result: AuditResult, title: str, path: Path) -> None:
    """Write the picture as PNG. A panel without anything measured says so."""
    ledger = result.ledger
    names = [variant.name for variant in result.variants]
    height = max(4.5, 0.27 * (len(names) + 3))
    figure, axes = plt.subplots(2, 3, figsize=(17, 2 * height), constrained_layout=True)
    _forest(axes[0, 0], ledger, "sampled", [*names, SURPRISAL], {"auroc": "AUROC of |Δ|"}, chance=0.5)
    _forest(axes[0, 1], ledger, "sampled", [*names, SURPRISAL], {"contrast": "mean |Δ| decisive / filler"}, chance=1.0)
    axes[0, 1].set_xscale("log")
    signs = {"mass_right": "right rollouts", "mass_wrong": "wrong rollouts"}
    _forest(axes[0, 2], ledger, "sampled", names, signs, chance=0.5, label="share of |Δ| with the right sign")
    agreement = {"spearman": "all steps", "spearman_within": "within rollouts"}
    label = "rank correlation with value changes"
    _forest(axes[1, 0], ledger, "montecarlo", [*names, GRPO], agreement, chance=0.0, label=label)
    _along(axes[1, 1], ledger)
    _group_sizes(axes[1, 2], ledger)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _forest(
    axis: Axes,
    ledger: Ledger,
    part: Part,
    names: Sequence[str],
    measures: dict[str, str],
    *,
    chance: float,
    label: str | None = None,
) -> None:
    """One line per variant, one marker per measure; a dotted line at chance."""
    kept = [name for name in names if any(ledger[Cell(part, name, "", m)].value is not None for m in measures)]
    styles = ((_BLUE, "o"), (_ORANGE, "s"))
    for shift, ((measure, words), (colour, marker)) in enumerate(zip(measures.items(), styles, strict=False)):
        for row, name in enumerate(kept):
            place = row + (0.15 if shift else -0.15) * (len(measures) > 1)
            _dot(axis, ledger, Cell(part, name, "", measure), place, colour, marker, words if not row else None)
    axis.axvline(chance, color=_BLACK, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(kept)), kept, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(label or next(iter(measures.values())))
    if len(measures) > 1 and kept:
        _legend(axis)
    _say_if_empty(axis, bool(kept))


def _dot(axis: Axes, ledger: Ledger, cell: Cell, place: float, colour: str, marker: str, words: str | None) -> None:
    measured = ledger[cell]
    if measured.value is None:
        return
    low, high = measured.low, measured.high
    reach: Any = None if low is None or high is None else [[measured.value - low], [high - measured.value]]
    if reach is not None:
        reach = [[max(0.0, reach[0][0])], [max(0.0, reach[1][0])]]
    axis.errorbar(measured.value, place, xerr=reach, color=colour, marker=marker, markersize=5, capsize=2, label=words)


def _along(axis: Axes, ledger: Ledger) -> None:
    """Mean |Delta| by relative position."""
    drawn = False
    places = [(index + 0.5) / PROFILE_BINS for index in range(PROFILE_BINS)]
    for name, colour, marker in _SERIES:
        found = [ledger[Cell("profile", name, f"{index}", "abs_all")] for index in range(PROFILE_BINS)]
        kept = [(x, m) for x, m in zip(places, found, strict=True) if m.value is not None]
        drawn |= bool(kept)
        _series(axis, kept, name, colour, marker)
    axis.set_xlabel("relative position in the completion")
    axis.set_ylabel("mean |Δ|, nats")
    _finish(axis, drawn)


def _group_sizes(axis: Axes, ledger: Ledger) -> None:
    """Evidence of the right sign on wrong rollouts by the size of the group."""
    drawn = False
    for shift, (name, colour, marker) in enumerate(_SERIES):
        found = [ledger[Cell("sensitivity", name, f"group size: {size}", "mass_wrong")] for size in GROUP_SIZES]
        kept = [(x + 0.06 * (shift - 2), m) for x, m in enumerate(found) if m.value is not None]
        drawn |= bool(kept)
        _series(axis, kept, name, colour, marker)
    axis.set_xticks(range(len(GROUP_SIZES)), [str(size) for size in GROUP_SIZES])
    axis.set_xlabel("group size")
    axis.set_ylabel("share of |Δ| with the right sign on wrong rollouts")
    _finish(axis, drawn)


def _series(axis: Axes, points: Sequence[tuple[float, Any]], name: str, colour: str, marker: str) -> None:
    if not points:
        return
    x = [place for place, _ in points]
    y = [measured.value for _, measured in points]
    below = [max(0.0, m.value - m.low) if m.low is not None else 0.0 for _, m in points]
    above = [max(0.0, m.high - m.value) if m.high is not None else 0.0 for _, m in points]
    axis.errorbar(x, y, yerr=[below, above], color=colour, marker=marker, markersize=5, capsize=2, label=name)


def _finish(axis: Axes, drawn: bool) -> None:
    if drawn:
        _legend(axis)
    _say_if_empty(axis, drawn)


def _legend(axis: Axes) -> None:
    """Above the panel, where it hides nothing."""
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False)


def _say_if_empty(axis: Axes, drawn: bool) -> None:
    if not drawn:
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
