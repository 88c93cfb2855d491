"""What a run folder says, as plain data, with a sentence for each thing that is missing or broken."""

from __future__ import annotations

import base64
import json
import math
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cepo.reports.recompute import METHODS, recompute
from cepo.reports.traces import CreditRecord, read_traces

__all__ = ["BIN", "WIDEST", "RunData", "load_run"]

SHOWN_SETTINGS = ("method", "preset", "model", "data", "seed", "learning_rate", "max_steps", "num_generations")
BIN = 0.1
WIDEST = 2.0
"""Nats: histograms of evidence go from -WIDEST to WIDEST in steps of BIN, the ends open."""


@dataclass
class RunData:
    """One run: its name, settings, logged metrics by name (lists of [step, value]), rollouts, images and notes."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[list[float]]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    histogram: dict[str, list[int]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def load_run(folder: Path) -> RunData:
    """Read whatever of a run folder can be read.

    Raises:
        ValueError: neither metrics nor traces are there: not a run folder.
    """
    if not (folder / "metrics.jsonl").is_file() and not (folder / "traces").is_dir():
        raise ValueError(f"{folder} is not a run folder: it has neither metrics.jsonl nor traces/. Give an output_dir")
    run = RunData(folder.name)
    _read_metrics(run, folder / "metrics.jsonl")
    _read_settings(run, folder)
    records = _read_records(run, folder / "traces")
    run.rollouts = [_rollout(record) for record in records]
    run.histogram = _histogram(records)
    run.sources = dict(Counter(record.minus_source for record in records))
    _read_images(run, folder / "traces", records)
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
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
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
    except yaml.YAMLError:
        run.notes.append("config.yaml cannot be read")
    try:
        run.summary = json.loads(summary.read_text()) if summary.is_file() else {}
    except json.JSONDecodeError:
        run.notes.append("summary.json cannot be read")
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


def _rollout(record: CreditRecord) -> dict[str, Any]:
    rounded = {
        name: None if values is None else [round(value, 4) if math.isfinite(value) else None for value in values]
        for name, values in (
            ("student", record.logp_student),
            ("plus", record.logp_plus),
            ("minus", record.logp_minus),
        )
    }
    return {
        "step": record.step, "group": record.group, "row": record.row, "id": record.problem_id,
        "method": record.method, "prompt": record.prompt_text, "image": record.image, "tokens": record.tokens,
        "base": record.base_advantage, "reward": record.reward, "correct": record.correct, "answer": record.answer,
        "gold": record.gold, "rplus": record.r_plus, "rminus": list(record.r_minus), "source": record.minus_source,
        "strength": record.strength, "clip": record.clip, "own": _own_rule(record), **rounded,
    }  # fmt: skip


def _own_rule(record: CreditRecord) -> dict[str, list[float]] | None:
    """The recorded credit of a rule of the user's own, which the page cannot compute; None: there is none."""
    credit = recompute(record, record.method) if record.method not in METHODS and record.evidence else None
    if credit is None:
        return None
    values = asdict(credit)
    if not all(math.isfinite(value) for stream in values.values() for value in stream):
        return None
    return {name: [round(value, 4) for value in stream] for name, stream in values.items()}


def _histogram(records: list[CreditRecord]) -> dict[str, list[int]]:
    """Tokens by evidence under the run's own method, apart for right and wrong rollouts (sign of A)."""
    bins = round(2 * WIDEST / BIN)
    counts = {"positive": [0] * bins, "negative": [0] * bins}
    for record in records:
        credit = recompute(record, record.method) if record.method != "grpo" and record.evidence else None
        if credit is None or record.base_advantage == 0:
            continue
        kind = counts["positive" if record.base_advantage > 0 else "negative"]
        for delta in credit.evidence:
            if not math.isnan(delta):
                inside = min(max(delta, -WIDEST), WIDEST)
                kind[min(int((inside + WIDEST) / BIN), bins - 1)] += 1
    return counts


def _read_images(run: RunData, folder: Path, records: list[CreditRecord]) -> None:
    for name in sorted({record.image for record in records if record.image}):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            run.notes.append(f"the image {name} is missing")
            continue
        run.images[name] = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
