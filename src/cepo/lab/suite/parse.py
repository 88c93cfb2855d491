"""lmms-eval's result files: `<out>/<model>/<date>_results.json`, one task each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cepo.errors import RecordError
from cepo.lab.suite.tasks import Benchmark

__all__ = ["Measured", "find_results", "parse_results"]

_FILTER = "none"


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark of one model.

    Attributes:
        percent: accuracy, 0 to 100, as lmms-eval aggregates it.
        rows: rows that were answered.
        of: rows of the whole benchmark.
    """

    percent: float
    rows: int
    of: int


def find_results(folder: Path) -> Path:
    """The newest result file below `folder`.

    Raises:
        RecordError: there is none.
    """
    files = sorted(folder.rglob("*_results.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    if not files:
        raise RecordError("lmms-eval wrote no results")
    return files[-1]


def parse_results(file: Path, benchmark: Benchmark, max_new_tokens: int) -> Measured:
    """What `file` says of `benchmark`.

    Raises:
        RecordError: not lmms-eval's JSON, another task, no such metric, a value off its scale, no number of
            samples, or other generation settings than were asked for.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{file} is not JSON ({error})") from error
    task, key = benchmark.task, f"{benchmark.metric},{_FILTER}"
    values = _at(content, file, "results", task)
    if key not in values:
        raise RecordError(f"{file}: {task} has no metric {key!r}; it has {', '.join(sorted(values)) or 'none'}")
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= benchmark.scale:  # nor NaN
        raise RecordError(f"{file}: {task} {key} is {value!r}, expected a number from 0 to {benchmark.scale:g}")
    settings = _at(content, file, "configs", task).get("generation_kwargs")
    used = settings.get("max_new_tokens") if isinstance(settings, dict) else None
    if used != max_new_tokens:
        raise RecordError(f"{file}: generated with max_new_tokens={used}, asked for {max_new_tokens}")
    counts = _at(content, file, "n-samples", task)
    rows, of = counts.get("effective"), counts.get("original")
    if not isinstance(rows, int) or not isinstance(of, int) or not 1 <= rows <= of:
        raise RecordError(f"{file}: n-samples of {task} is {counts}, expected 1 <= effective <= original")
    return Measured(100 * value / benchmark.scale, rows, of)


def _at(content: object, file: Path, section: str, task: str) -> dict[str, object]:
    tasks = content.get(section) if isinstance(content, dict) else None
    if not isinstance(tasks, dict):
        raise RecordError(f"{file} has no {section!r}: it is no result file of lmms-eval")
    if not isinstance(tasks.get(task), dict):
        raise RecordError(f"{file}: {section!r} has no task {task!r}; it has {', '.join(sorted(tasks)) or 'none'}")
    return tasks[task]
