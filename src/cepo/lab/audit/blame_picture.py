"""Where the blame of a wrong solution goes, for each method, along the solution: one picture that anyone reads."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cepo.lab.audit.first_error import PLACES
from cepo.lab.audit.ledger import Cell, Ledger
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.run import AuditResult
from cepo.lab.audit.table import shown
from cepo.stats import Estimate

__all__ = ["draw_blame"]

_HEADINGS = (
    "3+ steps\nbefore", "2 steps\nbefore", "1 step\nbefore", "FIRST\nWRONG\nSTEP", "1 step\nafter", "2 steps\nafter",
    "3+ steps\nafter", "last\nstep", "boxed\nanswer", "words\nbetween",
)  # fmt: skip
_NAMES = {GRPO: "evenly on all tokens (GRPO)", SURPRISAL: "by surprise alone"}
_RIGHT, _ELSEWHERE = "Greens", "Oranges"


def draw_blame(result: AuditResult, title: str, path: Path) -> bool:
    """Write the picture as PNG; False where nothing was measured, and nothing is written."""
    ledger = result.ledger
    names = [name for name in (*(v.name for v in result.variants), SURPRISAL, GRPO) if _cell(ledger, name, "found")]
    if not names:
        return False
    figure, axis = plt.subplots(figsize=(13, 1.9 + 0.34 * len(names)), constrained_layout=True)
    for row, name in enumerate(names):
        _row(axis, ledger, row, name)
    axis.set_xlim(-0.5, len(PLACES) + 1.0)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_yticks(range(len(names)), [_NAMES.get(name, name) for name in names], fontsize=9)
    columns = [*range(len(PLACES)), len(PLACES) + 0.25]
    axis.set_xticks(columns, [*_HEADINGS, "finds it\n(largest blame)"], fontsize=9)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    edge = PLACES.index("first wrong") - 0.5
    axis.add_patch(Rectangle((edge, -0.5), 1, len(names), fill=False, edgecolor="black", linewidth=1.5))
    axis.set_xlabel(_under(ledger, names[0]), fontsize=9)
    figure.suptitle(f"Where the blame of a wrong solution goes, in % of it: {title}")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _row(axis: Axes, ledger: Ledger, row: int, name: str) -> None:
    for column, place in enumerate(PLACES):
        estimate = _cell(ledger, name, place)
        share = 0.0 if estimate is None else estimate.mean
        scale = plt.get_cmap(_RIGHT if place == "first wrong" else _ELSEWHERE)
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=scale(0.85 * share), edgecolor="white", linewidth=2)
        axis.add_patch(box)
        text = "" if estimate is None else f"{100 * share:.0f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if share > 0.6 else "black")
    found = _cell(ledger, name, "found")
    axis.text(
        len(PLACES) + 0.25, row, "" if found is None else f"{found.text(0)}", ha="center", va="center", fontsize=8
    )


def _under(ledger: Ledger, name: str) -> str:
    chance, end = (_cell(ledger, name, measure) for measure in ("chance", "at_end"))
    percent = [shown(one and Estimate(100 * one.mean), 0) for one in (chance, end)]
    return (
        f"Last column: wrong solutions whose largest blame is the first wrong step (%, 95% interval over problems). "
        f"A random step finds it in {percent[0]}%, always the last step in {percent[1]}%."
    )


def _cell(ledger: Ledger, name: str, measure: str) -> Estimate | None:
    return ledger[Cell("first_error", name, "", measure)]
