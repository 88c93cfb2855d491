"""Runs that another comparison has made already: the same config, seed and base weights are the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cepo.lab.compare.experiment import ExperimentError
from cepo.lab.compare.plan import RECORD, Run, changed_fields
from cepo.lab.jobs import LOCK

__all__ = ["Shelf"]


class Shelf:
    """The finished runs of other comparisons, to take copies from.

    Args:
        folders: what `cepo compare --out` was given there.

    Raises:
        ExperimentError: a folder that holds no comparison.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not (folder / "runs").is_dir():
                raise ExperimentError(f"--reuse {folder}: there is no {folder / 'runs'}; give a comparison's folder")
        self._finished = [
            (path.parent, json.loads(path.read_text())) for path in _records(folders) if _is_finished(path.parent)
        ]

    def find(self, run: Run) -> Path | None:
        """The folder of an equal run; None: there is none, or the run has a folder of its own."""
        if run.folder.exists():
            return None
        return next((folder for folder, then in self._finished if not changed_fields(then, run)), None)

    def take(self, run: Run) -> Path | None:
        """Copy what `find` finds, with its generations, into the run's folder; returns whence.

        The optimiser's states are left behind: nothing is trained on.
        """
        found = self.find(run)
        if found is not None:
            partial = run.folder.with_name(f".{run.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(found, partial, ignore=shutil.ignore_patterns(LOCK, "optimizer.pt"))
            partial.rename(run.folder)
        return found


def _records(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.glob(f"runs/*/{RECORD}"))


def _is_finished(folder: Path) -> bool:
    return (folder / "summary.json").is_file()
