"""What a run folder says, as plain data, with a sentence for each thing that is missing or broken."""

from __future__ import annotations

import base64
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml

from cepo.errors import RunFolderError
from cepo.reports.records import CreditRecord
from cepo.reports.steps import first_wrong
from cepo.reports.traces import read_traces
from cepo.stats import wilson_interval

__all__ = ["BIN", "WIDEST", "RunData", "State", "check_run", "load_run"]

State = Literal["training", "stopped", "finished"]

SHOWN_SETTINGS = ("method", "preset", "model", "data", "seed", "learning_rate", "max_steps", "num_generations")
BIN = 0.1
WIDEST = 2.0
"""Nats: histograms of evidence go from -WIDEST to WIDEST in steps of BIN, the ends open."""

PACE = 20
"""Logged steps whose middle time stands for the steps to come."""


@dataclass
class RunData:
    """One run.

    Attributes:
        name: of the folder.
        settings: the fields of its recipe that a reader asks for first.
        metrics: name -> [step, value] for each step that logged it.
        curve: [step, accuracy, low, high] of each evaluation: during training, else before and after it.
        summary: what `cepo train` measured before and after training.
        state: `training` until a summary says `finished` or `stopped`, and after that where a later step is logged.
        step, total: the last step, and how many there will be; None: that is not known.
        seconds_left: at the pace of the last steps; None: not known, or the run has ended.
        rollouts: the recorded ones, in the order of training.
        first_wrong: place in `rollouts` -> the token at which that rollout first goes wrong, where labels know it.
        images: path in the trace -> the image as a data URI.
        histogram: sign of A (`positive`, `negative`, `zero`) -> tokens by recorded evidence, in bins.
        notes: a sentence for each thing that could not be read.
    """

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    metrics: dict[str, list[list[float]]] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    state: State = "training"
    step: int = 0
    total: int | None = None
    seconds_left: float | None = None
    rollouts: list[CreditRecord] = field(default_factory=list)
    first_wrong: dict[int, int] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    histogram: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def check_run(folder: Path) -> None:
    """Raise RunFolderError: neither metrics nor traces nor the record of a run that has begun: not a run folder."""
    if not any((folder / name).exists() for name in ("metrics.jsonl", "traces", "identity.json")):
        raise RunFolderError(
            f"{folder} is not a run folder: it has neither metrics.jsonl nor traces/. Give the output_dir of a "
            "training that has begun"
        )


def load_run(folder: Path) -> RunData:
    """Read whatever of a run folder can be read.

    Raises:
        RunFolderError: as `check_run`.
    """
    check_run(folder)
    run = RunData(folder.name)
    _read_metrics(run, folder / "metrics.jsonl")
    _read_settings(run, folder)
    _read_curve(run, folder / "curve.jsonl")
    run.rollouts = _read_records(run, folder / "traces")
    found = {place: first_wrong(record) for place, record in enumerate(run.rollouts)}
    run.first_wrong = {place: token for place, token in found.items() if token is not None}
    run.histogram = _histogram(run.rollouts)
    _read_images(run, folder / "traces")
    if run.state == "training" and not run.step and (folder / "identity.json").is_file():
        run.notes = ["the run has begun, and no step has ended: it may be evaluating first"]
    return run


def _read_metrics(run: RunData, path: Path) -> None:
    if not path.is_file():
        run.notes.append(
            "metrics.jsonl is missing: no curves (`cepo train` writes it; a script logs where report_to says)"
        )
        return
    for entry in _lines(run, path):
        run.step = max(run.step, int(entry["step"]))
        for name, value in entry.items():
            if name != "step" and isinstance(value, (int, float)) and math.isfinite(value):
                run.metrics.setdefault(name, []).append([float(entry["step"]), float(value)])


def _lines(run: RunData, path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file that name a step; a note for each other line."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        try:
            entry = json.loads(line)
            float(entry["step"])
        except (KeyError, TypeError, ValueError):
            run.notes.append(f"{path.name}, line {number}, is cut short or no metrics: left out")
            continue
        yield entry


def _read_settings(run: RunData, folder: Path) -> None:
    config, summary = folder / "config.yaml", folder / "summary.json"
    try:
        values = yaml.safe_load(config.read_text()) if config.is_file() else {}
        run.settings = {name: values.get(name) for name in SHOWN_SETTINGS if values.get(name) is not None}
        run.total = _total(run, values.get("max_steps") or 0, values.get("num_train_epochs"))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        run.notes.append("config.yaml cannot be read")
    try:
        run.summary = json.loads(summary.read_text()) if summary.is_file() else {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        run.notes.append("summary.json cannot be read")
    ended, at = run.summary.get("state"), run.summary.get("steps", run.step)
    run.state = "training" if run.step > at or ended is None else ended
    if run.state == "stopped":
        run.notes.append(f"the run was stopped at step {at}: {run.summary.get('why')}")
    if run.state == "training":
        pace = [value for _, value in run.metrics.get("step_time", ())][-PACE:]
        if pace and run.total is not None:
            run.seconds_left = median(pace) * max(0, run.total - run.step)
        if not (folder / "identity.json").is_file():
            run.notes.append("no summary.json: a script's run, of which nothing says whether it has ended")


def _total(run: RunData, steps: int, epochs: float | None) -> int | None:
    """The steps of the whole run: as asked for, else from the share of its epochs that is done."""
    done = run.metrics.get("epoch", [])
    if steps > 0 or not epochs or not done or not done[-1][1]:
        return steps if steps > 0 else None
    return max(run.step, round(done[-1][0] * epochs / done[-1][1]))


def _read_curve(run: RunData, path: Path) -> None:
    """The evaluations during training, each with its interval over problems; else those before and after."""
    for entry in _lines(run, path) if path.is_file() else ():
        right, problems = entry.get("accuracy"), entry.get("problems")
        if isinstance(right, (int, float)) and isinstance(problems, int) and problems > 0:
            found = wilson_interval(round(right * problems), problems)
            run.curve.append([float(entry["step"]), found.mean, *found.bounds])
    if not run.curve:
        for name, step in (("before", 0), ("after", run.step)):
            if (told := run.summary.get(name)) is not None:
                mean = told["overall"]["mean"]
                run.curve.append([float(step), *(told["overall"].get(end) or mean for end in ("mean", "low", "high"))])


def _read_records(run: RunData, folder: Path) -> list[CreditRecord]:
    """All records that can be read; a note for each thing that cannot."""
    records: list[CreditRecord] = []
    if not folder.is_dir():
        run.notes.append("no traces: the run was made with trace_groups=0, so there are no rollouts to show")
        return records
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            records.extend(read_traces(folder, damaged=lambda what: run.notes.append(f"traces: {what}; left out")))
        except (ValueError, OSError) as error:
            run.notes.append(f"traces: {error}")
    run.notes += [f"traces: {warning.message}" for warning in told]
    return records


def _histogram(records: Sequence[CreditRecord]) -> dict[str, list[int]]:
    bins = round(2 * WIDEST / BIN)
    counts = {"positive": [0] * bins, "negative": [0] * bins, "zero": [0] * bins}
    for record in records:
        A = record.base_advantage
        kind = counts["positive" if A > 0 else "negative" if A < 0 else "zero"]
        for delta in record.evidence or ():
            if not math.isnan(delta):
                inside = min(max(delta, -WIDEST), WIDEST)
                kind[min(int((inside + WIDEST) / BIN), bins - 1)] += 1
    return counts


def _read_images(run: RunData, folder: Path) -> None:
    for name in sorted({record.image for record in run.rollouts if record.image}):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            run.notes.append(f"the image {name} is missing")
            continue
        run.images[name] = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
