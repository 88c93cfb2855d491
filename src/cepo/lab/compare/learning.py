"""How fast arms learn: area under the accuracy curve, steps to an accuracy, each method beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from cepo.lab.compare.calibration import Calibration
from cepo.lab.compare.contrasts import Contrast
from cepo.lab.compare.measures import AREA
from cepo.lab.compare.races import Race
from cepo.lab.compare.results import Results
from cepo.lab.compare.tables import MISSING, Cell, over_seeds_or_none
from cepo.stats import p_text

__all__ = ["area_lines", "learning_table", "steps_table"]


def learning_table(results: Results, calibration: Calibration) -> pd.DataFrame:
    """Area, its difference to the baseline's and, for a control, its method's lead over it; in points, as text."""
    against = {one.arm: one for one in calibration.against}
    controlled = {one.other: one for one in calibration.controlled}
    return pd.DataFrame(
        {
            "": arm,
            "role": results.role(arm),
            "area": _cell_text(_area(results, arm)),
            f"less {results.baseline}'s": _text(against.get(arm)),
            "over seeds alone": _over_seeds(against.get(arm)),
            "p (Holm)": _p(against.get(arm)),
            "its method less this control": _text(controlled.get(arm)),
        }
        for arm in _in_order(results)
    )


def steps_table(results: Results, found: Sequence[Race]) -> pd.DataFrame:
    """Steps to each target, and their ratio to the baseline's, as text."""
    lines = []
    for arm in _in_order(results):
        line = {"": arm, "role": results.role(arm)}
        for race in (race for race in found if race.arm == arm):
            line[f"steps to {race.target}"] = race.steps_text()
            own = arm == results.baseline
            line[f"times {results.baseline}'s, to {race.target}"] = "1" if own else race.ratio_text()
        lines.append(line)
    return pd.DataFrame(lines)


def area_lines(results: Results) -> list[dict[str, object]]:
    """For JSON: each arm's area by seed, its mean and interval; shares in [0, 1]."""
    cells = {arm: _area(results, arm) for arm in results.arms}
    return [
        {"arm": arm, "role": results.role(arm), "mean": None, "low": None, "high": None, "values": []}
        | ({} if cell is None else {**cell.estimate._asdict(), "values": list(cell.values)})
        for arm, cell in cells.items()
    ]


def _in_order(results: Results) -> list[str]:
    """The baseline, the oracles and the methods, each with its controls behind it, and what is left."""
    leading = [arm for role in ("baseline", "oracle", "method") for arm in results.arms if results.role(arm) == role]
    placed = [one for arm in leading for one in (arm, *results.controls.get(arm, ()))]
    return list(dict.fromkeys([*placed, *results.arms]))


def _area(results: Results, arm: str) -> Cell | None:
    runs = results.complete(arm)
    scores = [AREA.of(results, run) for run in runs or ()]
    return over_seeds_or_none([None if given is None else fmean(given.values()) for given in scores])


def _cell_text(cell: Cell | None) -> str:
    return MISSING if cell is None else cell.text(100.0, 1, interval=True)


def _text(contrast: Contrast | None) -> str:
    if contrast is None:
        return ""
    return MISSING if contrast.verdict is None else contrast.verdict.estimate.text(sign=True)


def _over_seeds(contrast: Contrast | None) -> str:
    return "" if contrast is None or contrast.seeds is None else contrast.seeds.estimate.interval_text(sign=True)


def _p(contrast: Contrast | None) -> str:
    return "" if contrast is None or contrast.p_holm is None else p_text(contrast.p_holm)
