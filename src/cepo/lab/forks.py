"""Processes that begin with their libraries loaded: one server imports them, and forks a fresh process for each job.

Importing what a training needs takes longer than many trainings of small models. The server is multiprocessing's
fork server: it does nothing but import and fork, so that each job is as fresh as a new interpreter, can be killed
alone, and outlives both the server and us.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Fork", "Main", "fork"]

LOADED = ("cepo.runs.run", "cepo.lab.compare.evaluation")
"""Imported once, by the server."""


class Main(NamedTuple):
    """`module:function`, called with a list of `arguments`; what it returns is the exit code."""

    function: str
    arguments: Sequence[str]


class Fork:
    """A forked process, as much of `subprocess.Popen` as jobs need."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int:
        """Negative: the signal that killed it."""
        code = self._process.exitcode
        assert code is not None
        return code

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def fork(main: Main, log: Path, lock: int, environment: Mapping[str, str]) -> Fork:
    """Start a process that appends what it prints to `log`, holds the file `lock`, and leads a group of its own.

    The server has the environment of the first call: thread counts are read when libraries are loaded.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        process = context.Process(target=_begin, args=(main, str(log), _Handed(lock), dict(environment)), daemon=False)
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
    return Fork(process)


class _Handed:
    """A file descriptor that is handed on while a process is started."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _detached, (DupFd(self.number),)


def _detached(handed: Any) -> int:
    return handed.detach()


def _begin(main: Main, log: str, lock: int, environment: Mapping[str, str]) -> None:
    """In the new process. `lock` stays open as long as it lives."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the comparison alone, and it passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(output, number)
    code = pkgutil.resolve_name(main.function)(list(main.arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
