"""What a run folder says, as plain data, with a sentence for each thing that is missing or broken."""

from __future__ import annotations

import base64
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cepo.errors import RunFolderError
from cepo.reports.records import CreditRecord
from cepo.reports.traces import read_traces

__all__ = ["BIN", "WIDEST", "RunData", "load_run"]

SHOWN_SETTINGS = ("method", "preset", "model", "data", "seed", "learning_rate", "max_steps", "num_generations")
BIN = 0.1
WIDEST = 2.0
"""Nats: histograms of evidence go from -WIDEST to WIDEST in steps of BIN, the ends open."""


@dataclass
class RunData:
    """One run.

    Attributes:
        name: of the folder.
        settings: the fields of its recipe that a reader asks for first.
        metrics: name -> [step, value] for each step that logged it.
        summary: what `cepo train` measured before and after training.
        rollouts: the recorded ones, in the order of training.
        images: path in the trace -> the image as a data URI.
        histogram: sign of A (`positive`, `negative`, `zero`) -> tokens by recorded evidence, in bins.
        notes: a sentence for each thing that could not be read.
    """

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    metrics: dict[str, list[list[float]]] = field(default_factory=dict)
    summary: dict[str, object] = field(default_factory=dict)
    rollouts: list[CreditRecord] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    histogram: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_run(folder: Path) -> RunData:
    """Read whatever of a run folder can be read.

    Raises:
        RunFolderError: neither metrics nor traces are there: not a run folder.
    """
    if not (folder / "metrics.jsonl").is_file() and not (folder / "traces").is_dir():
        raise RunFolderError(
            f"{folder} is not a run folder: it has neither metrics.jsonl nor traces/. Give an output_dir"
        )
    run = RunData(folder.name)
    _read_metrics(run, folder / "metrics.jsonl")
    _read_settings(run, folder)
    run.rollouts = _read_records(run, folder / "traces")
    run.histogram = _histogram(run.rollouts)
    _read_images(run, folder / "traces")
    return run


def _read_metrics(run: RunData, path: Path) -> None:
    if not path.is_file():
        run.notes.append(
            "metrics.jsonl is missing: no curves (`cepo train` writes it; a script logs where report_to says)"
        )
        return
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        try:
            entry = json.loads(line)
            step = float(entry["step"])
        except (KeyError, TypeError, ValueError):
            run.notes.append(f"metrics.jsonl, line {number}, is cut short or no metrics: left out")
            continue
        for name, value in entry.items():
            if name != "step" and isinstance(value, (int, float)) and math.isfinite(value):
                run.metrics.setdefault(name, []).append([step, float(value)])


def _read_settings(run: RunData, folder: Path) -> None:
    config, summary = folder / "config.yaml", folder / "summary.json"
    try:
        values = yaml.safe_load(config.read_text()) if config.is_file() else {}
        run.settings = {name: values.get(name) for name in SHOWN_SETTINGS if values.get(name) is not None}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        run.notes.append("config.yaml cannot be read")
    try:
        run.summary = json.loads(summary.read_text()) if summary.is_file() else {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        run.notes.append("summary.json cannot be read")
    if run.summary.get("state") == "stopped":
        run.notes.append(f"the run was stopped at step {run.summary.get('steps')}: {run.summary.get('why')}")
    if not summary.is_file():
        run.notes.append("no summary.json: a run of `cepo train` that has not ended, or a script's")


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
