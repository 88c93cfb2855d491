"""Checkpoints that a kill cannot fake: only those that were written to their end are resumed from."""

from __future__ import annotations

from pathlib import Path

__all__ = ["last_checkpoint", "mark_complete"]

COMPLETE = "cepo_complete"
"""Written last into a checkpoint: without it a kill came in between."""


def mark_complete(folder: Path) -> None:
    """Everything of the checkpoint is there."""
    (folder / COMPLETE).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint of a run folder; None: there is none."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)
