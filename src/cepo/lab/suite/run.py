"""Models x benchmarks, one process of lmms-eval each; what is finished is kept, what fails is named.

Folder: `<out>/<model>/<task>/result.json` is written when the task's result has been read; `lmms/` beside it is
lmms-eval's own output with every answer, `log.txt` all that it printed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cepo.lab.suite.checkpoint import Checkpoint, check_models, open_checkpoint
from cepo.lab.suite.command import Settings, child_environment, lmms_command
from cepo.lab.suite.environment import VERSION, check_environment
from cepo.lab.suite.failures import explain
from cepo.lab.suite.geometry import prepare_geometry
from cepo.lab.suite.parse import Measured, ResultError, find_results, parse_results
from cepo.lab.suite.process import run_logged
from cepo.lab.suite.tasks import GEOMETRY, Benchmark, Suite

__all__ = ["Outcome", "Settings", "planned_commands", "run_suite"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark of one model: what was measured, or what went wrong."""

    model: str
    benchmark: Benchmark
    measured: Measured | None
    error: str | None = None


def run_suite(suite: Suite, models: Sequence[str], settings: Settings, out: Path, say: Say) -> list[Outcome]:
    """Every benchmark of every model, in order; a finished one is read from `out` and not run again.

    `say` hears one line when a benchmark starts and ends, and at every tenth of its progress.

    Raises:
        ValueError: a model that lmms-eval cannot evaluate, an environment that is not fit for it, or results in
            `out` that were measured otherwise; before anything is run.
    """
    checkpoints = check_models(list(models))
    for checkpoint in checkpoints:
        for benchmark in suite.benchmarks:
            _finished(_folder(out, checkpoint, benchmark), _identity(checkpoint, suite, settings))
    python_path = prepare_geometry(out) if suite is GEOMETRY else None
    environment = child_environment(python_path)
    paths = {c.folder: open_checkpoint(c, out / c.folder / "checkpoint") for c in checkpoints}
    local = [paths[c.folder] for c in checkpoints if c.is_local]
    check_environment(settings.python, local, settings.device, environment)
    outcomes = []
    for checkpoint in checkpoints:
        for benchmark in suite.benchmarks:
            command = lmms_command(
                settings, suite, benchmark, paths[checkpoint.folder], _folder(out, checkpoint, benchmark) / "lmms"
            )
            outcomes.append(_one(checkpoint, benchmark, suite, settings, command, out, environment, say))
    return outcomes


def planned_commands(suite: Suite, models: Sequence[str], settings: Settings, out: Path) -> list[list[str]]:
    """The command lines of `run_suite`, for looking at; nothing is written or run. Raises as `check_models`."""
    return [
        lmms_command(settings, suite, benchmark, checkpoint.path, _folder(out, checkpoint, benchmark) / "lmms")
        for checkpoint in check_models(list(models))
        for benchmark in suite.benchmarks
    ]


def _one(
    checkpoint: Checkpoint,
    benchmark: Benchmark,
    suite: Suite,
    settings: Settings,
    command: list[str],
    out: Path,
    environment: dict[str, str],
    say: Say,
) -> Outcome:
    folder, identity = _folder(out, checkpoint, benchmark), _identity(checkpoint, suite, settings)
    name = f"{checkpoint.label}, {benchmark.name}"
    if (kept := _finished(folder, identity)) is not None:
        say(f"{name}: {kept.percent:.2f}, kept")
        return Outcome(checkpoint.label, benchmark, kept)
    shutil.rmtree(folder / "lmms", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    say(f"{name}: started, log {log}")
    code = run_logged(command, log, out, environment, _tenths(name, say))
    try:
        measured = parse_results(find_results(folder / "lmms"), benchmark, settings.max_new_tokens)
    except ResultError as error:
        sentence = explain(log, code, str(error), benchmark)
        say(f"{name}: failed: {sentence}")
        return Outcome(checkpoint.label, benchmark, None, sentence)
    _keep(folder, identity, measured)
    say(f"{name}: {measured.percent:.2f} of {measured.rows} rows")
    return Outcome(checkpoint.label, benchmark, measured)


def _tenths(name: str, say: Say) -> Callable[[str, int], None]:
    """Passes on a progress bar's tenths, each once."""
    seen: set[tuple[str, int]] = set()

    def progress(bar: str, percent: int) -> None:
        tenth = bar, percent // 10
        if bar != "Loading weights" and tenth not in seen:
            seen.add(tenth)
            say(f"{name}: {bar} {percent}%")

    return progress


def _folder(out: Path, checkpoint: Checkpoint, benchmark: Benchmark) -> Path:
    return out.resolve() / checkpoint.folder / benchmark.task


def _identity(checkpoint: Checkpoint, suite: Suite, settings: Settings) -> dict[str, Any]:
    """What a result depends on; where and how fast it was computed is no part of it."""
    return {
        "model": checkpoint.identity(),
        "lmms_eval": VERSION,
        "backend": settings.backend,
        "max_new_tokens": settings.max_new_tokens,
        "limit": settings.limit,
        "model_args": dict(suite.model_args) | dict(settings.model_args),
    }


def _finished(folder: Path, identity: dict[str, Any]) -> Measured | None:
    """The result in `folder`; None: there is none.

    Raises:
        ValueError: it was measured with other settings, or of other weights.
    """
    file = folder / "result.json"
    if not file.is_file():
        return None
    try:
        saved = json.loads(file.read_text())
        measured, before = Measured(**saved["measured"]), saved["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({error}); remove it to run its benchmark again") from error
    for name, value in identity.items():
        if before.get(name) != value:
            what = "other weights" if name == "model" else f"{name}={before.get(name)!r}, this run has {value!r}"
            raise ValueError(f"{file} was measured with {what}; choose another --out, or remove the file")
    return measured


def _keep(folder: Path, identity: dict[str, Any], measured: Measured) -> None:
    half = folder / "result.json.writing"
    half.write_text(json.dumps({"identity": identity, "measured": asdict(measured)}, indent=2))
    half.replace(folder / "result.json")
