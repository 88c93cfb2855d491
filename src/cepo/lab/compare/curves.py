"""What the figures draw, as records: mean over seeds with its 95% interval, at each step or value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cepo.lab.compare.experiment import Sweep
from cepo.lab.compare.results import Outcome, Results, RunResult
from cepo.lab.compare.tables import over_seeds

__all__ = ["EVIDENCE", "accuracy_curves", "answer_first_curves", "evidence_curves", "length_curves", "sweep_curve"]

Record = dict[str, Any]

EVIDENCE = {
    "positive": "credit/tokens_positive", "negative": "credit/tokens_negative", "zero": "credit/tokens_zero"
}  # fmt: skip


def accuracy_curves(results: Results) -> list[Record]:
    """Held-out accuracy of every complete arm against steps, from the untrained model on.

    Every point is of the same problems: the first ones, which all checkpoints were evaluated on.
    """
    return _checkpoint_curves(results, lambda outcome: outcome.first(results.shown))


def answer_first_curves(results: Results) -> list[Record]:
    """Share of completions that state their answer before deriving it, against steps."""
    return _checkpoint_curves(results, lambda outcome: outcome.derivation.answer_first)


def length_curves(results: Results) -> list[Record]:
    """Mean length of the training completions in tokens, against steps."""
    return _logged_curves(results, {"": "completions/mean_length"})


def evidence_curves(results: Results) -> list[Record]:
    """Fractions of credited tokens with positive, negative and zero evidence, against steps."""
    return _logged_curves(results, EVIDENCE)


def sweep_curve(results: Results, sweep: Sweep) -> list[Record]:
    """Final accuracy over all problems against the swept value; a value with missing runs has no mean."""
    records = []
    for value in sweep.values:
        runs = results.complete(sweep.name(value))
        values = [run.final.accuracy() for run in runs] if runs else []
        records.append(_record(sweep.name(value), sweep.field, value, values))
    return records


def _checkpoint_curves(results: Results, read: Callable[[Outcome], float | None]) -> list[Record]:
    records = []
    for arm, runs in _complete(results):
        if results.base is not None:
            records += _some(_record(arm, "step", 0, [read(results.base)] * len(runs)))
        for step in sorted(runs[0].outcomes):
            records += _some(_record(arm, "step", step, [read(run.outcomes[step]) for run in runs]))
    return records


def _logged_curves(results: Results, keys: Mapping[str, str]) -> list[Record]:
    """One record per arm, kind and step at which every seed has logged it."""
    records = []
    for arm, runs in _complete(results):
        for kind, key in keys.items():
            series = [{line["step"]: line[key] for line in run.metrics if line.get(key) is not None} for run in runs]
            for step in sorted(set.intersection(*map(set, series))):
                record = _record(arm, "step", step, [values[step] for values in series])
                records.append({**record, "kind": kind} if kind else record)
    return records


def _complete(results: Results) -> list[tuple[str, list[RunResult]]]:
    complete = ((arm, results.complete(arm)) for arm in results.arms)
    return [(arm, runs) for arm, runs in complete if runs is not None]


def _record(arm: str, axis: str, at: Any, values: Sequence[float | None]) -> Record:
    known = [value for value in values if value is not None]
    cell = over_seeds(known) if known and len(known) == len(values) else None
    return {
        "arm": arm,
        axis: at,
        "mean": cell.mean if cell else None,
        "low": cell.low if cell else None,
        "high": cell.high if cell else None,
        "values": " ".join(f"{value:.6g}" for value in known) if cell else "missing",
    }


def _some(record: Record) -> list[Record]:
    return [record] if record["mean"] is not None else []
