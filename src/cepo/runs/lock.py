"""One process at a time writes a run folder or a result; the others are told who does.

The lock is the operating system's (flock): it ends with the process, however that dies. On a network file system it
holds as far as that file system passes flock on.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cepo.errors import RunFolderError

__all__ = ["RUN_LOCK", "has_died", "locked", "run_lock"]

RUN_LOCK = "run.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """A run folder's; of several processes of one run the first takes it for all."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with locked(folder / RUN_LOCK, f"the run folder {folder}", "choose another --output_dir"):
        yield


def has_died(folder: Path) -> bool:
    """Whether the process that trained in a run folder was of this machine and is no more; without taking the lock."""
    try:
        about = json.loads((folder / RUN_LOCK).read_text())
        if about["host"] != socket.gethostname():
            return False
        os.kill(int(about["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError):  # no lock, or a process of somebody else's
        return False
    return False


@contextmanager
def locked(file: Path, what: str, instead: str) -> Iterator[None]:
    """The lock `file`, held in the block. Its name stays, with who had it last.

    Raises:
        RunFolderError: another process has it: which, on which host, since when.
    """
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"{what} is being written by {_holder(file)}: wait for it, end it, or {instead}") from None
    except OSError as error:
        raise RunFolderError(f"cannot lock {file} ({error.strerror or error}); {instead}") from error
    try:
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(" ", "seconds")}
        with suppress(OSError):  # a full disk: the lock holds without a name
            file.write_text(json.dumps(about) + "\n")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    try:
        about = json.loads(file.read_text())
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process, which has not written its name yet"
