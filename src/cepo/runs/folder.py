"""A run as a folder: where its files lie, what it says of its origin, and that it holds this run and no other."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from cepo.answers import BOXED, Grading
from cepo.errors import RunFolderError
from cepo.reports.files import write_whole
from cepo.runs.identity import Identity, comparable, decisive_fields, differences, resolved_paths
from cepo.runs.recipe import RunConfig
from cepo.trainer.checkpoint import writing
from cepo.trainer.config import CEPOConfig

__all__ = ["RunFolder", "git_revision", "is_finished", "resolved_config", "run_grading", "write_atomically"]

_PACKAGES = ("cepo", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "math-verify")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run. Beside those named here lie `checkpoint-<step>/`, `traces/` and the run's own rules."""

    path: Path

    @property
    def config(self) -> Path:
        """Every field as resolved."""
        return self.path / "config.yaml"

    @property
    def identity(self) -> Path:
        return self.path / "identity.json"

    @property
    def versions(self) -> Path:
        return self.path / "versions.json"

    @property
    def prompts(self) -> Path:
        """The first problem's prompt as training, each teacher and the evaluation put it."""
        return self.path / "prompts.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curve(self) -> Path:
        """Accuracy during training (`eval_curve_every`)."""
        return self.path / "curve.jsonl"

    @property
    def summary(self) -> Path:
        """Written last. Its `state` is `finished`, or `stopped` with why; see `is_finished`."""
        return self.path / "summary.json"

    @property
    def model(self) -> Path:
        """The trained model, or its adapter."""
        return self.path / "model"

    def read_summary(self) -> dict[str, Any] | None:
        """What `summary.json` says; None: there is none. Raises RunFolderError where the file is damaged."""
        if not self.summary.is_file():
            return None
        again = "; remove the file, and the same command makes it again"
        found = _json(self.summary, again)
        if is_finished(found) and not {"steps", "train_seconds"} <= found.keys():
            raise RunFolderError(f"{self.summary} does not say its steps: the run folder was damaged{again}")
        return found

    def generations(self, when: str) -> Path:
        """Answers of the evaluation `before` or `after` training."""
        return self.path / "eval" / f"{when}.jsonl"

    def read_config(self) -> dict[str, Any]:
        """Raises RunFolderError where the file is damaged."""
        try:
            found = yaml.safe_load(self.config.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            where = str(getattr(error, "problem_mark", error)).strip()
            raise RunFolderError(f"{self.config} is not YAML ({where}): the run folder was damaged") from None
        if not isinstance(found, dict):
            raise RunFolderError(f"{self.config} does not hold a run's fields: the run folder was damaged")
        return found

    def check_same_run(self, now: Identity, resolved: Mapping[str, object]) -> None:
        """Whether the checkpoints that would be resumed are this run's own. A folder without a config holds no run.

        A folder of a version that wrote no `identity.json` is compared by `resolved`, this run's `config.yaml`.

        Raises:
            RunFolderError: they are not. Resuming would train the wrong model, or report one run as another.
        """
        if self.identity.is_file():
            found = differences(comparable(self._read_identity()), comparable(now.record), now.named)
        elif self.config.is_file():
            before, names = self.read_config(), decisive_fields()
            found = differences(
                *(comparable({name: values.get(name) for name in names}) for values in (before, resolved))
            )
        else:
            return
        if found:
            raise RunFolderError(
                f"{self.path} holds checkpoints of a run with other settings: {', '.join(found[:_SHOWN])}; choose "
                "another --output_dir, or remove that folder to start anew"
            )

    def write_provenance(self, run: RunConfig, config: CEPOConfig, identity: Identity) -> None:
        """What was asked for, with which code and packages, and the files of the run's own rules."""
        write_atomically(self.config, yaml.safe_dump(resolved_config(run, config), sort_keys=True))
        write_atomically(self.identity, json.dumps(identity.record, indent=1, sort_keys=True) + "\n")
        about = {name: version(name) for name in _PACKAGES}
        about |= {"python": platform.python_version(), "machine": platform.machine(), "git": git_revision()}
        about["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        write_atomically(self.versions, json.dumps(about, indent=1) + "\n")
        for path in map(Path, run.method_files):
            write_atomically(self.path / path.name, path.read_text())

    def _read_identity(self) -> dict[str, object]:
        return _json(self.identity)


def _json(file: Path, remedy: str = "") -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{file} is not JSON ({error}): the run folder was damaged{remedy}") from None
    if not isinstance(found, dict):
        raise RunFolderError(f"{file} does not hold a record: the run folder was damaged{remedy}")
    return found


def is_finished(summary: Mapping[str, object] | None) -> bool:
    """Whether a `summary.json` is that of a run that came to its end; older versions wrote no other."""
    return summary is not None and summary.get("state", "finished") == "finished"


def resolved_config(run: RunConfig, config: CEPOConfig) -> dict[str, object]:
    """Every field of a run as plain data."""
    resolved = asdict(run) | {name: value for name, value in config.to_dict().items() if value is not None}
    resolved |= resolved_paths(resolved)
    resolved["credit"] = asdict(config.credit)
    return json.loads(json.dumps(resolved, default=str))


def run_grading(path: Path) -> Grading:
    """How the run that `path` is, or lies in (its model, a checkpoint), was graded; the default for other folders."""
    for folder in (path, path.parent):
        if RunFolder(folder).config.is_file():
            config = RunFolder(folder).read_config()
            return Grading(**{entry.name: config[entry.name] for entry in fields(Grading) if entry.name in config})
    return BOXED


def git_revision() -> str | None:
    """The revision of the source tree, with `+` when it has uncommitted changes; None outside of git."""
    try:
        revision, changes = (_git(*words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changes else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def write_atomically(path: Path, text: str) -> None:
    """Whole or not at all. Raises RunFolderError: the disk is full, or may not be written."""
    with writing(path):
        write_whole(path, text)
