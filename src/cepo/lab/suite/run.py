"""Models x benchmarks, one process of lmms-eval each; what is finished is kept, what fails is named.

Folder: `<out>/<model>/<task>/result.json` is written when the task's result has been read; `lmms/` beside it is
lmms-eval's own output with every answer, `log.txt` all that it printed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cepo.errors import RecordError, RunFolderError
from cepo.lab.jobs import Failure, Job, last_lines, run_jobs
from cepo.lab.progress import shown
from cepo.lab.suite.checkpoint import Checkpoint, check_models, open_checkpoint
from cepo.lab.suite.command import Settings, child_environment, lmms_command
from cepo.lab.suite.environment import VERSION, check_environment
from cepo.lab.suite.failures import explain
from cepo.lab.suite.geometry import prepare_geometry
from cepo.lab.suite.parse import Measured, find_results, parse_results
from cepo.lab.suite.tasks import GEOMETRY, Benchmark, Suite

__all__ = ["Outcome", "Settings", "log_progress", "planned_commands", "run_suite"]

_BAR = re.compile(r"([A-Z][\w ]+):\s+(\d+)%\|")
_LOADING = "Loading weights"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark of one model: what was measured, or what went wrong."""

    model: str
    benchmark: Benchmark
    measured: Measured | None
    error: str | None = None


def run_suite(
    suite: Suite, models: Sequence[str], settings: Settings, out: Path, say: Callable[[str], None]
) -> list[Outcome]:
    """Every benchmark of every model, in order; a finished one is read from `out` and not run again.

    `say` hears one line for each benchmark that was kept, that starts, and that has failed.

    Raises:
        ModelError: a model that lmms-eval cannot evaluate.
        PackageError, SettingError: an environment that is not fit for it.
        RecordError, RunFolderError: results in `out` that cannot be read, or were measured otherwise.
    """
    checkpoints = check_models(list(models))
    tasks = _tasks(suite, checkpoints, settings, out)
    for task in tasks:
        if (kept := task.kept()) is not None:
            say(f"{task.name}: {kept.percent:.2f}, kept")
    environment = child_environment(prepare_geometry(out) if suite is GEOMETRY else None)
    paths = {one.folder: open_checkpoint(one, out / one.folder / "checkpoint") for one in checkpoints}
    local = [paths[one.folder] for one in checkpoints if one.is_local]
    check_environment(settings.python, local, settings.device, environment)
    jobs = [task.job(paths[task.checkpoint.folder], environment, say) for task in tasks]
    with shown(suite.name) as show:
        failures = run_jobs(jobs, 1, show)
    for name, failure in failures.items():
        say(f"{name}: failed: {failure.reason}")
    return [task.outcome(failures) for task in tasks]


def planned_commands(suite: Suite, models: Sequence[str], settings: Settings, out: Path) -> list[list[str]]:
    """The command lines of `run_suite`, for looking at; nothing is written or run. Raises as `check_models`."""
    tasks = _tasks(suite, check_models(list(models)), settings, out)
    return [task.command(task.checkpoint.path) for task in tasks]


def _tasks(suite: Suite, checkpoints: Sequence[Checkpoint], settings: Settings, out: Path) -> list[_Task]:
    return [_Task(suite, benchmark, one, settings, out) for one in checkpoints for benchmark in suite.benchmarks]


@dataclass(frozen=True, slots=True)
class _Task:
    """One benchmark of one model, with a folder of its own below `out`."""

    suite: Suite
    benchmark: Benchmark
    checkpoint: Checkpoint
    settings: Settings
    out: Path

    @property
    def name(self) -> str:
        return f"{self.checkpoint.label}, {self.benchmark.name}"

    @property
    def folder(self) -> Path:
        return self.out.resolve() / self.checkpoint.folder / self.benchmark.task

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def identity(self) -> dict[str, object]:
        """What a result depends on; where and how fast it was computed is no part of it."""
        settings = self.settings
        return {
            "model": self.checkpoint.identity(),
            "lmms_eval": VERSION,
            "backend": settings.backend,
            "max_new_tokens": settings.max_new_tokens,
            "limit": settings.limit,
            "model_args": dict(self.suite.model_args) | dict(settings.model_args),
        }

    def kept(self) -> Measured | None:
        """The result of an earlier call; None: there is none.

        Raises:
            RecordError: it cannot be read.
            RunFolderError: it was measured with other settings, or of other weights.
        """
        file = self.folder / "result.json"
        if not file.is_file():
            return None
        try:
            saved = json.loads(file.read_text())
            measured, before = Measured(**saved["measured"]), saved["identity"]
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{file} cannot be read ({error}); remove it to run its benchmark again") from error
        for name, value in self.identity().items():
            if before.get(name) != value:
                what = "other weights" if name == "model" else f"{name}={before.get(name)!r}, this run has {value!r}"
                raise RunFolderError(f"{file} was measured with {what}; choose another --out, or remove the file")
        return measured

    def command(self, model: str) -> list[str]:
        return lmms_command(self.settings, self.suite, self.benchmark, model, self.folder / "lmms")

    def job(self, model: str, environment: Mapping[str, str], say: Callable[[str], None]) -> Job:
        identity = self.identity()

        def prepare() -> None:
            shutil.rmtree(self.folder / "lmms", ignore_errors=True)
            self.log.unlink(missing_ok=True)
            say(f"{self.name}: started, log {self.log}")

        return Job(
            name=self.name,
            folder=self.folder,
            log=self.log,
            command=self.command(model),
            done=lambda: self.kept() is not None,
            progress=lambda: (log_progress(self.log) if self.kept() is None else 100, 100),
            prepare=prepare,
            finish=lambda code: self._read(code, identity),
            environment=environment,
            directory=self.out,
        )

    def _read(self, code: int, identity: Mapping[str, object]) -> str | None:
        """Keep what lmms-eval measured, or say why there is nothing."""
        try:
            measured = parse_results(find_results(self.folder / "lmms"), self.benchmark, self.settings.max_new_tokens)
        except RecordError as error:
            return explain(self.log, code, str(error), self.benchmark)
        half = self.folder / "result.json.writing"
        half.write_text(json.dumps({"identity": identity, "measured": asdict(measured)}, indent=2))
        half.replace(self.folder / "result.json")
        return None

    def outcome(self, failures: Mapping[str, Failure]) -> Outcome:
        failure = failures.get(self.name)
        measured = self.kept() if failure is None else None
        return Outcome(self.checkpoint.label, self.benchmark, measured, failure and failure.reason)


def log_progress(log: Path) -> int:
    """Percent of the last progress bar in a log, loading aside; 0 without one."""
    bars = [found for line in last_lines(log, 50) for found in _BAR.finditer(line) if found[1] != _LOADING]
    return int(bars[-1][2]) if bars else 0
