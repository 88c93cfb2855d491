"""What a run folder says, as plain data, with a sentence for each thing that is missing or broken."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cepo.reports.rollouts import departures, evidence_histogram, read_images, read_records, rollout

__all__ = ["RunData", "load_run"]

SETTINGS = ("method", "preset", "model", "data", "seed", "learning_rate", "max_steps", "num_generations")
ACCURACY = ("before", "after", "difference")


@dataclass
class RunData:
    """One run: its name, settings, logged metrics by name (lists of [step, value]), rollouts, images and notes."""

    name: str
    folder: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[list[float]]] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
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
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the output_dir of a `cepo train`")
    if not (folder / "metrics.jsonl").is_file() and not (folder / "traces").is_dir():
        raise ValueError(
            f"{folder} is not a run folder, it has neither metrics.jsonl nor traces/: give the output_dir of a "
            "`cepo train`"
        )
    run = RunData(folder.resolve().name, str(folder))
    _read_metrics(run, folder / "metrics.jsonl")
    config = _read_config(run, folder)
    _read_summary(run, folder)
    _read_rollouts(run, folder / "traces", config)
    return run


def _read_metrics(run: RunData, path: Path) -> None:
    if not path.is_file():
        run.notes.append("metrics.jsonl is missing: there are no curves")
        return
    by_name: dict[str, dict[float, float]] = {}
    broken: list[int] = []
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
        entry = _metrics_line(line)
        if entry is None:
            broken.append(number)
            continue
        for name, value in entry.items():
            if name != "step" and not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
                by_name.setdefault(name, {})[float(entry["step"])] = float(value)  # a resumed run logs steps again
    run.metrics = {name: [[step, points[step]] for step in sorted(points)] for name, points in by_name.items()}
    if broken:
        which = f"line {broken[0]} is" if len(broken) == 1 else f"{len(broken)} lines (first: {broken[0]}) are"
        run.notes.append(f"metrics.jsonl: {which} cut short or not metrics, and left out")


def _metrics_line(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    step = entry.get("step") if isinstance(entry, dict) else None
    return entry if isinstance(step, int | float) and math.isfinite(step) else None


def _mapping(run: RunData, path: Path, parse: Any) -> dict[str, Any]:
    """The mapping in a file; what is wrong with it is a note. {} where the file is missing or broken."""
    try:
        content = parse(path.read_text("utf-8")) if path.is_file() else {}
    except (ValueError, yaml.YAMLError, OSError):
        content = None
    if isinstance(content, dict):
        return content
    run.notes.append(f"{path.name} cannot be read: what it says is left out")
    return {}


def _read_config(run: RunData, folder: Path) -> dict[str, Any]:
    config = _mapping(run, folder / "config.yaml", yaml.safe_load)
    run.settings = {name: str(config[name]) for name in SETTINGS if config.get(name) is not None}
    run.versions = {name: str(value) for name, value in _mapping(run, folder / "versions.json", json.loads).items()}
    return config


def _read_summary(run: RunData, folder: Path) -> None:
    path = folder / "summary.json"
    summary = _mapping(run, path, json.loads)
    if not path.is_file():
        run.notes.append("there is no summary.json: the run has not ended")
    parts = {name: summary.get(name) for name in ACCURACY}
    if isinstance(summary.get("train_seconds"), int | float):
        run.seconds = float(summary["train_seconds"])
    if parts["after"] is None:
        return
    try:
        run.accuracy = {"problems": parts["after"]["problems"], "overall": {}, "families": {}}
        for name in ("before", "after"):
            if parts[name] is not None:
                run.accuracy["overall"][name] = _interval(parts[name]["overall"])
                for family, value in parts[name]["families"].items():
                    run.accuracy["families"].setdefault(str(family), {})[name] = _interval(value)
        if parts["difference"] is not None:
            run.accuracy["difference"] = _interval(parts["difference"])
    except (AttributeError, KeyError, TypeError, ValueError):
        run.accuracy = {}
        run.notes.append("summary.json has evaluations of another form: they are left out")


def _interval(value: dict[str, Any]) -> list[float]:
    return [float(value[name]) for name in ("mean", "low", "high")]


def _read_rollouts(run: RunData, folder: Path, config: dict[str, Any]) -> None:
    if not folder.is_dir():
        run.notes.append("there is no traces/: the run was made with trace_groups=0, so there are no rollouts to show")
        return
    records = read_records(folder, lambda what: run.notes.append(f"traces: {what}"))
    zones = _dead_zones(run, config, [record.step for record in records])
    run.rollouts = [rollout(record, zone) for record, zone in zip(records, zones, strict=True)]
    run.histogram = evidence_histogram(records)
    run.sources = dict(Counter(record.minus_source for record in records))
    names = sorted({record.image for record in records if record.image})
    run.images = read_images(folder, names, lambda what: run.notes.append(f"traces: {what}"))
    if departed := departures(records, zones):
        run.notes.append(
            f"traces: in {departed} rollouts the recorded evidence is not what their log-probs give; the report shows "
            "what the log-probs give"
        )


def _dead_zones(run: RunData, config: dict[str, Any], steps: list[int]) -> list[float]:
    """Nats that the run took off |evidence|, by record: a fixed number, or `auto`, the null contrast of the step."""
    credit = config.get("credit")
    setting = str(credit.get("evidence_dead_zone", "off")) if isinstance(credit, dict) else "off"
    if setting == "auto":
        measured = {int(step): value for step, value in run.metrics.get("credit/null_p90", [])}
        return [measured.get(step, 0.0) for step in steps]
    try:
        fixed = 0.0 if setting == "off" else float(setting)
    except ValueError:
        fixed = 0.0
        run.notes.append(f"config.yaml: evidence_dead_zone {setting!r} is not understood: none is taken off")
    return [fixed] * len(steps)
