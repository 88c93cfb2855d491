"""The audit as one picture: every number with its 95% interval, told apart by colour, marker and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from cepo.lab.audit.labelled import PROFILE_BINS
from cepo.lab.audit.ledger import Cell, Ledger, Part
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.run import AuditResult
from cepo.lab.audit.sensitivity import GROUP_SIZES
from cepo.stats import Estimate

__all__ = ["draw"]

# Okabe and Ito's palette, told apart by readers with any colour vision.
_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"
_STYLES = ((_BLUE, "o"), (_ORANGE, "s"))
_SERIES = {
    "rlsd": (_ORANGE, "s"),
    "cepo-sampled": (_BLUE, "o"),
    "cepo-common": (_SKY, "^"),
    "cepo-own": (_GREEN, "D"),
    "cepo-marginal": (_PURPLE, "v"),
}
_CHANCE = {"auroc": 0.5, "contrast": 1.0, "mass_right": 0.5, "spearman": 0.0}
"""The first measure of a panel -> its value for evidence that knows nothing."""


def draw(result: AuditResult, title: str, path: Path) -> None:
    """Write the picture as PNG. A panel without anything measured says so."""
    ledger = result.ledger
    names = [variant.name for variant in result.variants]
    height = max(4.5, 0.27 * (len(names) + 3))
    figure, axes = plt.subplots(2, 3, figsize=(17, 2 * height), constrained_layout=True)
    found = [*names, SURPRISAL]
    _forest(axes[0, 0], ledger, "sampled", found, {"auroc": "AUROC of |Δ|"})
    _forest(axes[0, 1], ledger, "sampled", found, {"contrast": "mean |Δ| decisive / filler"})
    axes[0, 1].set_xscale("log")
    _forest(axes[0, 2], ledger, "sampled", names, {"mass_right": "right rollouts", "mass_wrong": "wrong rollouts"})
    axes[0, 2].set_xlabel("share of |Δ| with the right sign")
    agreement = {"spearman": "all steps", "spearman_within": "within rollouts"}
    _forest(axes[1, 0], ledger, "montecarlo", [*names, GRPO], agreement)
    axes[1, 0].set_xlabel("rank correlation with value changes")
    _along(axes[1, 1], ledger)
    _group_sizes(axes[1, 2], ledger)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _forest(axis: Axes, ledger: Ledger, part: Part, names: Sequence[str], measures: Mapping[str, str]) -> None:
    """One line per variant, one marker per measure; a dotted line at chance."""
    kept = [name for name in names if any(ledger[Cell(part, name, "", measure)] is not None for measure in measures)]
    for place, ((measure, words), style) in enumerate(zip(measures.items(), _STYLES, strict=False)):
        found = [(row, ledger[Cell(part, name, "", measure)]) for row, name in enumerate(kept)]
        shift = (place - (len(measures) - 1) / 2) * 0.3
        _points(axis, [(row + shift, one) for row, one in found if one is not None], words, style, across=True)
    axis.axvline(_CHANCE[next(iter(measures))], color=_BLACK, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(kept)), kept, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(next(iter(measures.values())))
    _finish(axis, legend=len(measures) > 1, drawn=bool(kept))


def _along(axis: Axes, ledger: Ledger) -> None:
    """Mean |Delta| by relative position."""
    drawn = False
    for name, style in _SERIES.items():
        found = [ledger[Cell("profile", name, f"{index}", "abs_all")] for index in range(PROFILE_BINS)]
        places = [((index + 0.5) / PROFILE_BINS, one) for index, one in enumerate(found) if one is not None]
        drawn |= _points(axis, places, name, style)
    axis.set_xlabel("relative position in the completion")
    axis.set_ylabel("mean |Δ|, nats")
    _finish(axis, legend=True, drawn=drawn)


def _group_sizes(axis: Axes, ledger: Ledger) -> None:
    """Evidence of the right sign on wrong rollouts by the size of the group."""
    drawn = False
    for shift, (name, style) in enumerate(_SERIES.items()):
        found = [ledger[Cell("sensitivity", name, f"group size: {size}", "mass_wrong")] for size in GROUP_SIZES]
        places = [(x + 0.06 * (shift - 2), one) for x, one in enumerate(found) if one is not None]
        drawn |= _points(axis, places, name, style)
    axis.set_xticks(range(len(GROUP_SIZES)), [str(size) for size in GROUP_SIZES])
    axis.set_xlabel("group size")
    axis.set_ylabel("share of |Δ| with the right sign on wrong rollouts")
    _finish(axis, legend=True, drawn=drawn)


def _points(
    axis: Axes, points: Sequence[tuple[float, Estimate]], words: str, style: tuple[str, str], *, across: bool = False
) -> bool:
    """Estimates at their places with their intervals, joined by a line unless they go `across`; whether there are."""
    if not points:
        return False
    at, means = [place for place, _ in points], [one.mean for _, one in points]
    ends = [one.bounds for _, one in points]
    reach = [
        [max(0.0, mean - low) for mean, (low, _) in zip(means, ends, strict=True)],
        [max(0.0, high - mean) for mean, (_, high) in zip(means, ends, strict=True)],
    ]
    colour, marker = style
    look = {"color": colour, "marker": marker, "markersize": 5, "capsize": 2, "label": words}
    if across:
        axis.errorbar(means, at, xerr=reach, linestyle="none", **look)
    else:
        axis.errorbar(at, means, yerr=reach, **look)
    return True


def _finish(axis: Axes, *, legend: bool, drawn: bool) -> None:
    """The legend above the panel, where it hides nothing; or a word that nothing was measured."""
    if not drawn:
        axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
    elif legend:
        axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False)
