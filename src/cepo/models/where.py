"""Which run a path belongs to: a run folder, its `model/`, one of its checkpoints, or what was exported from it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from cepo.errors import RunFolderError

__all__ = ["EXPORTED_FROM", "as_run", "run_of", "settings_of", "weights_of"]

EXPORTED_FROM = "cepo_run.json"
"""In an exported folder: the run that it was made from."""

_OF_A_RUN = ("config.yaml", "metrics.jsonl", "traces", "identity.json")


def run_of(path: Path) -> Path | None:
    """The run folder that a path is or belongs to; None: it belongs to no run that is there."""
    file = path / EXPORTED_FROM
    found = [path]
    if path.name == "model" or path.name.startswith("checkpoint-"):
        found.append(path.absolute().parent)
    if file.is_file():
        found.append(Path(json.loads(file.read_text()).get("run", "")))
    return next((one for one in found if any((one / name).exists() for name in _OF_A_RUN)), None)


def as_run(path: Path) -> Path:
    """For commands that show a run: its folder where one is known, else the path as it was given."""
    return run_of(path) or path


def weights_of(path: Path) -> Path:
    """The folder with the weights: of a run its `model/`.

    Raises:
        RunFolderError: a run that has none yet; its checkpoints are named.
    """
    if (path / "model").is_dir() and not (path / "config.json").is_file():
        return path / "model"
    if any((path / name).exists() for name in _OF_A_RUN):
        checkpoints = sorted((one.parent.name for one in path.glob("checkpoint-*/cepo_complete")), key=_step)
        has = f"it has {', '.join(checkpoints)}, which can be given" if checkpoints else "it has no checkpoint yet"
        raise RunFolderError(f"{path} is not a finished run (model missing): {has}; the same `cepo train` finishes it")
    return path


def settings_of(path: Path) -> dict[str, object]:
    """`config.yaml` of the run that a path belongs to; {} where there is none."""
    run = run_of(path)
    file = None if run is None else run / "config.yaml"
    if file is None or not file.is_file():
        return {}
    try:
        return yaml.safe_load(file.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = str(getattr(error, "problem_mark", error)).strip()
        raise RunFolderError(f"{file} is not YAML ({where}): the run folder was damaged") from None


def _step(name: str) -> tuple[int, str]:
    number = name.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, name)
