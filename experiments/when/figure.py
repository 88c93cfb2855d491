"""When does credit help? One figure from the tables of `experiments/when` and of the bed.

`python experiments/when/figure.py` reads FOLDER/{bed,when/steps2,..}/area.csv (default `experiments/results`) and
writes `when/when.png`, `.svg` and `.csv`: area above GRPO's in points, interval over seeds and problems.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cepo.lab.compare.figures import save_figure

BED = "bed"
PANELS = {
    "dependent steps": {"2": "steps2", "4": "steps4", "6": BED, "8": "steps8"},
    "problems a step\n(32 rollouts in all)": {"2": "problems2", "4": BED, "16": "problems16"},
}
ARMS = {"oracle": ("#009E73", "s", "oracle"), "decisive": ("#0072B2", "o", "decisive, told solutions")}
EVIDENCE = {
    "oracle": "the oracle's\nweights",
    "oracle-mixed-half": "half of the\ntokens change\nplaces",
    "oracle-mixed": "all of them\nchange places",
    "decisive": "decisive,\ntold solutions",
    "decisive-answers": "decisive,\ntold answers",
}


def gains(file: Path) -> dict[str, tuple[float, float, float]]:
    """Arm -> area above GRPO's in points: mean, low, high."""
    table = pd.read_csv(file)
    found = table[table["other"] == "grpo"].set_index("arm")[["mean", "low", "high"]] * 100
    return {str(arm): (row["mean"], row["low"], row["high"]) for arm, row in found.iterrows()}


def points(folder: Path) -> pd.DataFrame:
    """A row for each mark of the figure; variations that have no table yet are left out."""
    rows: list[dict[str, object]] = []
    for panel, places in PANELS.items():
        for place, name in places.items():
            file = folder / ("" if name == BED else "when") / name / "area.csv"
            known = gains(file) if file.is_file() else {}
            rows += [_row(panel, place, arm, known[arm]) for arm in ARMS if arm in known]
    known = gains(folder / "when" / "evidence" / "area.csv")
    rows += [_row("evidence", words, arm, known[arm]) for arm, words in EVIDENCE.items()]
    return pd.DataFrame(rows)


def _row(panel: str, place: str, arm: str, gain: tuple[float, float, float]) -> dict[str, object]:
    return {"panel": panel, "place": place, "arm": arm, "gain": gain[0], "low": gain[1], "high": gain[2]}


def draw(data: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1, 0.9, 1.5))
    for axes, panel in zip(panels, PANELS, strict=False):
        own = data[data["panel"] == panel]
        _lines(axes, own, [place for place in PANELS[panel] if place in set(own["place"])])
        axes.set_xlabel(panel)
    _bars(panels[2], data[data["panel"] == "evidence"])
    for axes in panels:
        axes.axhline(0, color="black", linewidth=1)
    panels[0].set_ylabel("area above GRPO's (points)")
    panels[0].legend(fontsize=8)
    return figure


def _lines(axes: Axes, data: pd.DataFrame, places: list[str]) -> None:
    for shift, (arm, (colour, marker, label)) in enumerate(ARMS.items()):
        own = data[data["arm"] == arm]
        at = [places.index(place) + 0.08 * (2 * shift - 1) for place in own["place"]]
        off = (own["gain"] - own["low"], own["high"] - own["gain"])
        axes.errorbar(at, own["gain"], yerr=off, color=colour, marker=marker, capsize=3, label=label)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.4, len(places) - 0.6)


def _bars(axes: Axes, data: pd.DataFrame) -> None:
    colours = ["#0072B2" if arm.startswith("decisive") else "#009E73" for arm in data["arm"]]
    for at, (row, colour) in enumerate(zip(data.itertuples(), colours, strict=True)):
        off = ([row.gain - row.low], [row.high - row.gain])
        axes.errorbar([at], [row.gain], yerr=off, color=colour, marker="D", capsize=3)
    axes.set_xticks(range(len(data)), list(data["place"]), fontsize=7)
    axes.set_xlim(-0.5, len(data) - 0.5)
    axes.set_xlabel("whose evidence (six steps, four problems)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("experiments/results"))
    folder = parser.parse_args().folder
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
             "svg.hashsalt": "cepo", "svg.fonttype": "none", "legend.frameon": False}  # fmt: skip
    with matplotlib.rc_context(style):
        data = points(folder)
        for path in save_figure(draw(data), data, folder / "when" / "when"):
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
