"""Checkpoints that a kill cannot fake and a damage cannot hide: only whole ones are resumed from, or counted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cepo.data.digest import digest
from cepo.errors import CepoError, RunFolderError

__all__ = [
    "COMPLETE", "damage", "last_checkpoint", "mark_complete", "remove_unfinished", "rotate", "step_of",
    "usable_checkpoint", "window_file", "writing",
]  # fmt: skip

COMPLETE = "cepo_complete"
"""Written last into a checkpoint, with a digest of each of its files: without it a kill came in between."""


def mark_complete(folder: Path) -> None:
    """Everything of the checkpoint is there."""
    digests = {file.relative_to(folder).as_posix(): digest(file) for file in _files(folder)}
    part = folder / f"{COMPLETE}.part"
    part.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")
    os.replace(part, folder / COMPLETE)


def last_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint of a run folder; None: there is none."""
    return next(iter(_whole(folder)), None)


def usable_checkpoint(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The latest checkpoint that is whole and as it was written; `say` hears of each that is not. None: none is whole.

    Raises:
        RunFolderError: there are whole ones, and all of them are damaged.
    """
    faults = []
    for checkpoint in _whole(folder):
        fault = damage(checkpoint)
        if fault is None:
            return checkpoint
        faults.append(fault)
        say(f"{fault}; an earlier checkpoint is looked for")
    if faults:
        raise RunFolderError(
            f"{folder} has no checkpoint to go on from: {'; '.join(faults)}. Bring the files back, or remove these "
            "folders to start anew"
        )
    return None


def damage(checkpoint: Path) -> str | None:
    """Which file of a whole checkpoint is not what was written; None: all are. (Older versions kept no digests.)"""
    mark = (checkpoint / COMPLETE).read_bytes()
    if not mark:
        return None
    try:
        digests = json.loads(mark)
        for name, written in digests.items():
            file = checkpoint / name
            if not file.is_file():
                return f"{checkpoint} is damaged: {name} is gone"
            if digest(file) != written:
                return f"{checkpoint} is damaged: {name} is not what was written"
    except (ValueError, AttributeError):
        return f"{checkpoint} is damaged: {COMPLETE} cannot be read"
    return None


def rotate(folder: Path, limit: int | None, best: str | None = None) -> None:
    """Delete whole checkpoints but the last `limit` by their step and the best; one that is not whole counts nothing.

    Called once a checkpoint is whole, so that the last whole one is never deleted. A deletion takes the mark first:
    what a kill leaves of it is no checkpoint.
    """
    if limit is None or limit < 1:
        return
    for checkpoint in _whole(folder)[limit:]:
        if best is None or checkpoint.resolve() != Path(best).resolve():
            _delete(checkpoint)


def remove_unfinished(folder: Path) -> None:
    """Delete what kills have left: checkpoints without their mark, and files and folders named `.part`."""
    for checkpoint in folder.glob("checkpoint-*"):
        if checkpoint.is_dir() and not (checkpoint / COMPLETE).is_file():
            _delete(checkpoint)
    for part in [*folder.glob("*.part"), *folder.glob("*/*.part")]:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """What fails in the block failed to be written: a full disk, mostly, for which each library has its own words.

    Raises:
        RunFolderError: with the path, the free space there, and what can be gone on from.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, CepoError) or not _is_of_the_disk(error):
            raise
        last = last_checkpoint(what.parent)
        kept = f"the run goes on from {last.name}" if last else "there is no earlier checkpoint"
        there = next(parent for parent in (what, *what.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 2**20
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise RunFolderError(
            f"cannot write {what} ({reason}; {free:.0f} MiB are free there): free some space and run the same command "
            f"again; {kept}"
        ) from error


def window_file(process: int) -> str:
    """Of generated batches of which some are still to be trained on."""
    return f"cepo_window_{process}.pt"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


_DISK_WORDS = ("No space left", "PytorchStreamWriter", "file write failed", "Disk quota", "I/O error", "unexpected pos")


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) or any(word in str(error) for word in _DISK_WORDS)


def _whole(folder: Path) -> list[Path]:
    """The latest first."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return sorted((path for path in whole if path.name[len("checkpoint-") :].isdigit()), key=step_of, reverse=True)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(COMPLETE))


def _delete(checkpoint: Path) -> None:
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
