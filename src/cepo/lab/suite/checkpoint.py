"""Checkpoints as lmms-eval can read them: what is refused, and what is rewritten beside the original."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cepo.errors import ModelError, SettingError
from cepo.models.processor_config import IMAGE_ONLY, as_qwen3_vl

__all__ = ["Checkpoint", "check_models", "open_checkpoint"]

_EMBEDDED = Path(__file__).parents[2] / "models" / "embedded_weights"
_ADAPTER = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.bin")


class Checkpoint:
    """A model of the suite.

    Attributes:
        given: as the user wrote it.
        path: what lmms-eval is given: an absolute folder or a hub id.
        label: name in the table.
        folder: name of its folder of results; two models never share one.
    """

    def __init__(self, given: str, path: str) -> None:
        self.given, self.path = given, path
        parts = Path(given).parts[-2:]
        self.label = "/".join(part for part in parts if part not in ("/", ".", ".."))
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", self.label).strip("-.")
        self.folder = f"{slug}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"

    @property
    def is_local(self) -> bool:
        return Path(self.path).is_dir()

    def identity(self) -> dict[str, object]:
        """What makes it this model: path, and name, size and time of its weights where it is a folder."""
        files = [file for pattern in _WEIGHTS for file in sorted(Path(self.path).glob(pattern))]
        stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return {"path": self.path, "weights": stamps if self.is_local else None}


def check_models(models: list[str]) -> list[Checkpoint]:
    """The models of a suite, each a folder with weights or a hub id.

    Raises:
        SettingError: none, or one that stands twice.
        ModelError: a folder without a model, or a path that lmms-eval's `key=value,..`
            arguments cannot carry.
    """
    if not models:
        raise SettingError("give the models to evaluate: folders of `cepo export`, or hub ids")
    checkpoints = [_check(model) for model in models]
    for index, checkpoint in enumerate(checkpoints):
        if checkpoint.path in [other.path for other in checkpoints[:index]]:
            raise SettingError(f"the model {checkpoint.given!r} stands twice")
        if checkpoint.label in [other.label for other in checkpoints[:index]]:
            checkpoint.label = checkpoint.path
    return checkpoints


def _check(given: str) -> Checkpoint:
    folder = _EMBEDDED if given == "tiny" else Path(given).expanduser()
    if not folder.exists():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", given):
            return Checkpoint(given, given)
        raise ModelError(f"there is no folder {given!r}, and it is no hub id (owner/name)")
    if not (folder / "config.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"  # of a run
    path = str(folder.resolve())
    if not any((folder / name).is_file() for name in ("config.json", _ADAPTER)):
        raise ModelError(f"{given} is not a model folder, it has no config.json: is it a run that has not ended?")
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        raise ModelError(f"{given} has no weights (*.safetensors): the checkpoint is not whole")
    if set(path) & set(",="):
        raise ModelError(f"lmms-eval cannot be given a path with `,` or `=`: {path}; rename or link the folder")
    return Checkpoint(given, path)


def open_checkpoint(checkpoint: Checkpoint, work: Path) -> str:
    """The path for lmms-eval: the checkpoint's own, or a copy by links whose processor it can load.

    A checkpoint that was saved where torchvision is missing names our processor class. transformers' AutoProcessor
    does not know it and falls back to the tokenizer without a word: the model would answer without the images.
    """
    source = Path(checkpoint.path)
    if (source / _ADAPTER).is_file():
        return _merged(checkpoint, work)
    file = source / "processor_config.json"
    config = json.loads(file.read_text()) if checkpoint.is_local and file.is_file() else {}
    if config.get("processor_class") != IMAGE_ONLY:
        return checkpoint.path
    work.mkdir(parents=True, exist_ok=True)
    for other in source.iterdir():
        link = work / other.name
        link.unlink(missing_ok=True)
        if other.name != file.name:
            link.symlink_to(other)
    (work / file.name).write_text(json.dumps(as_qwen3_vl(config), indent=2))
    return str(work)


def _merged(checkpoint: Checkpoint, work: Path) -> str:
    """An adapter merged into its base model by `cepo export`, in a process of its own: torch is not needed here."""
    shutil.rmtree(work, ignore_errors=True)
    command = [sys.executable, "-m", "cepo.cli", "export", checkpoint.path, "--out", str(work)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"{checkpoint.given}: {(done.stderr.strip().splitlines() or ['cannot be merged'])[-1]}")
    return str(work)
