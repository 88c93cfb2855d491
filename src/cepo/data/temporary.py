"""Temporary folders that go with their process, also when it is killed: then the next one removes them.

A folder is made and locked under another name: under its own it would be a dead process's until it is locked.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from cepo.errors import DataError

__all__ = ["temporary_folder"]

_HELD = "held"
"""A file in the folder that is locked for as long as the process lives that made it."""


def temporary_folder(prefix: str) -> Path:
    """A new folder in TMPDIR; folders of this prefix whose process is dead are removed.

    Raises:
        DataError: there is no folder to make it in, or the disk is full.
    """
    try:
        root = Path(tempfile.gettempdir())
        for left in root.glob(f"{prefix}*/{_HELD}"):
            _remove_if_dead(left)
        making = Path(tempfile.mkdtemp(prefix=f"making-{prefix}", dir=root))
        held = os.open(making / _HELD, os.O_RDWR | os.O_CREAT)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends
        folder = making.rename(root / making.name.removeprefix("making-"))  # locked before another process can see it
    except OSError as error:
        raise DataError(
            f"cannot make a temporary folder ({error.strerror or error}): set TMPDIR to a folder that can be written "
            "and has space"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_if_dead(file: Path) -> None:
    try:
        held = os.open(file, os.O_RDWR)
    except OSError:  # another user's, or gone
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(file.parent, ignore_errors=True)
    except OSError:
        pass  # its process is alive
    finally:
        os.close(held)
