"""What the figures draw, as frames: mean over seeds with its 95% interval, at each step or value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from cepo.lab.compare.arms import Sweep
from cepo.lab.compare.contrasts import Contrast
from cepo.lab.compare.results import Outcome, Results, RunResult
from cepo.lab.compare.tables import MISSING, over_seeds_or_none

__all__ = [
    "EVIDENCE", "accuracy_curves", "answer_first_curves", "differences", "evidence_curves", "length_curves",
    "sweep_curve",
]  # fmt: skip

EVIDENCE = {
    "positive": "credit/tokens_positive", "negative": "credit/tokens_negative", "zero": "credit/tokens_zero"
}  # fmt: skip


def accuracy_curves(results: Results) -> pd.DataFrame:
    """Held-out accuracy of every complete arm against steps, from the untrained model on.

    Every point is of the same problems: the first ones, which all checkpoints were evaluated on.
    """
    return _checkpoint_curves(results, lambda outcome: outcome.first(results.shown))


def answer_first_curves(results: Results) -> pd.DataFrame:
    """Share of completions that state their answer before deriving it, against steps."""
    return _checkpoint_curves(results, lambda outcome: outcome.derivation.answer_first)


def length_curves(results: Results) -> pd.DataFrame:
    """Mean length of the training completions in tokens, against steps."""
    return _logged_curves(results, {"": "completions/mean_length"}).drop(columns="kind", errors="ignore")


def evidence_curves(results: Results) -> pd.DataFrame:
    """Fractions of credited tokens with positive, negative and zero evidence, against steps."""
    return _logged_curves(results, EVIDENCE)


def sweep_curve(results: Results, sweep: Sweep) -> pd.DataFrame:
    """Final accuracy over all problems against the swept value; a value with missing runs has no mean."""
    runs = {value: results.complete(sweep.name(value)) for value in sweep.values}
    return _frame(
        {"arm": sweep.name(value), sweep.field: value, **_point([run.final.accuracy() for run in found or ()])}
        for value, found in runs.items()
    )


def differences(contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """The verdict of every contrast that has one; shares in [-1, 1]."""
    return _frame(
        {"arm": one.arm, "other": one.other, **one.verdict._asdict(), "p_holm": one.p_holm}
        for one in contrasts
        if one.verdict is not None
    )


def _checkpoint_curves(results: Results, read: Callable[[Outcome], float | None]) -> pd.DataFrame:
    lines = []
    for arm, runs in _complete(results):
        points = {step: [read(run.outcomes[step]) for run in runs] for step in sorted(runs[0].outcomes)}
        if results.base is not None:
            points = {0: [read(results.base)] * len(runs), **points}
        lines += [{"arm": arm, "step": step, **_point(values)} for step, values in points.items()]
    return _known(lines)


def _logged_curves(results: Results, keys: Mapping[str, str]) -> pd.DataFrame:
    """A line per arm, kind and step at which every seed has logged it."""
    lines = []
    for arm, runs in _complete(results):
        for kind, key in keys.items():
            series = [
                {int(line["step"]): line[key] for line in run.metrics if line.get(key) is not None} for run in runs
            ]
            for step in sorted(set.intersection(*map(set, series))):
                lines.append({"arm": arm, "step": step, **_point([values[step] for values in series]), "kind": kind})
    return _known(lines)


def _complete(results: Results) -> Iterator[tuple[str, list[RunResult]]]:
    for arm in results.arms:
        if (runs := results.complete(arm)) is not None:
            yield arm, runs


def _point(values: Sequence[float | None]) -> dict[str, object]:
    cell = over_seeds_or_none(values)
    if cell is None:
        return {"mean": None, "low": None, "high": None, "values": MISSING}
    return {**cell.estimate._asdict(), "values": " ".join(f"{value:.6g}" for value in cell.values)}


def _known(lines: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return _frame(line for line in lines if line["mean"] is not None)


def _frame(lines: Iterator[Mapping[str, object]]) -> pd.DataFrame:
    """Empty without lines; numbers that are not there are NaN."""
    frame = pd.DataFrame(lines)
    return frame if frame.empty else frame.astype({"mean": float, "low": float, "high": float})
