"""One child process: its output into a log, its progress to the caller, and its end with ours."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

__all__ = ["run_logged"]

_PROGRESS = re.compile(r"([A-Z][\w ]+):\s+(\d+)%\|")
_PATIENCE_S = 10.0


def run_logged(
    command: list[str], log: Path, cwd: Path, environment: dict[str, str], progress: Callable[[str, int], None]
) -> int:
    """Run `command`, write all it prints into `log`, and return its exit code.

    `progress` hears of the child's progress bars: their name and percent, when one changes. Whatever ends the wait,
    an interrupt too, ends the child and its children.
    """
    child = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    last: tuple[str, int] | None = None
    try:
        with log.open("wb") as file:
            for line in _lines(child.stdout):
                file.write(line)
                file.flush()
                if (found := _PROGRESS.search(line.decode(errors="replace"))) is not None:
                    state = found[1], int(found[2])
                    if state != last:
                        progress(*state)
                    last = state
        return child.wait()
    finally:
        _end(child)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines as they come; a carriage return ends one too, for progress bars."""
    rest = b""
    while chunk := os.read(stream.fileno(), 1 << 16):
        *whole, rest = re.split(rb"(?<=[\r\n])", rest + chunk)
        yield from whole
    if rest:
        yield rest


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child's whole process group is gone afterwards."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, signal_)
        except ProcessLookupError:
            break
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()
