"""Runs that another comparison has made already: the same config, seed and base weights are the same run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from cepo.errors import RunFolderError
from cepo.lab.compare.plan import RECORD, Record, Run
from cepo.lab.jobs import LOCK
from cepo.runs.folder import RunFolder, is_finished

__all__ = ["Shelf"]


class Shelf:
    """The finished runs of other comparisons, to take copies from.

    Args:
        folders: what `cepo compare --out` was given there.

    Raises:
        RunFolderError: a folder that holds no comparison.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not (folder / "runs").is_dir():
                raise RunFolderError(f"--reuse {folder}: there is no {folder / 'runs'}; give a comparison's folder")
        records = (path for folder in folders for path in sorted(folder.glob(f"runs/*/{RECORD}")))
        self._finished: list[tuple[Path, Record]] = [
            (path.parent, json.loads(path.read_text()))
            for path in records
            if is_finished(RunFolder(path.parent).read_summary())
        ]

    def find(self, run: Run) -> Path | None:
        """The folder of an equal run; None: there is none, or the run has a folder of its own."""
        if run.folder.exists():
            return None
        return next((folder for folder, then in self._finished if not run.differences(then)), None)

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
