"""Processes side by side, each in a folder of its own that one process at a time may write.

The lock of a folder is inherited by the process that works in it: where a comparison was killed and its training
lives on, the next comparison finds the folder locked and waits for it instead of training there twice. (A lock of
the filelock package ends with the process that took it, and so cannot be handed on.)
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from cepo.lab.forks import Fork, Main, fork

__all__ = ["LOCK", "ONE_THREAD", "Failure", "Job", "Status", "last_lines", "run_jobs"]

LOCK = "lock"
"""The file in a job's folder that is locked while a process works there; it holds that process's id."""

_POLL_S = 0.2
_SHOW_S = 1.0
_GRACE_S = 60.0
"""How long an interrupted process may take to save its state."""
_TAIL_BYTES = 8192
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Environment variables of processes that run side by side on the CPU."""


@dataclass(frozen=True, slots=True)
class Job:
    """One command.

    Attributes:
        name: as shown.
        folder: where its lock lies.
        log: what it prints is appended to this file.
        command: argument list; or a function of ours with its arguments, for a process with its libraries loaded.
        done: whether its result is there; asked before it is started and after it has ended.
        progress: (steps done, steps in all), for the display.
        prepare: called right before it is started, with the lock held.
        finish: called with the exit code when it has ended, with the lock held; says why the job failed, None where
            it did not. Without it the exit code and `done` say so.
        environment: laid over ours.
        directory: where the command runs; None: where we are.
    """

    name: str
    folder: Path
    log: Path
    command: Sequence[str] | Main
    done: Callable[[], bool]
    progress: Callable[[], tuple[int, int]]
    prepare: Callable[[], object] = lambda: None
    finish: Callable[[int], str | None] | None = None
    environment: Mapping[str, str] = field(default_factory=ONE_THREAD.copy)
    directory: Path | None = None

    def why_failed(self, code: int) -> str | None:
        """What `finish` says; by default the exit code and whether the result is there."""
        if self.finish is not None:
            return self.finish(code)
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        if code > 0:
            return f"it ended with exit code {code}"
        return None if self.done() else "it ended without its result"


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that ended without its result: why, and the last lines of its log."""

    reason: str
    log: Path
    tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What is shown of a job: `state` is waiting, elsewhere, running, done or failed; `seconds` it has run."""

    name: str
    state: str
    step: int
    steps: int
    seconds: float


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes] | Fork
    lock: IO[str]
    started: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def end(self) -> None:
        """Kill what is left of the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run_jobs(jobs: Sequence[Job], parallel: int, show: Callable[[Sequence[Status]], None]) -> dict[str, Failure]:
    """Run the jobs whose result is not there, `parallel` at a time; returns those that failed, by name.

    A failure does not stop the others. On an interrupt (also SIGTERM and SIGHUP) the running processes are
    interrupted too, and get a minute to save their state. What a job started ends with it. `show` is called about
    once a second.

    Raises:
        KeyboardInterrupt: interrupted.
    """
    queue = _Queue(jobs)
    shown = -_SHOW_S
    with _interrupts() as interrupts:
        try:
            while queue.busy:
                with interrupts.held():  # a process must be booked before anything can stop us
                    queue.start(parallel)
                    queue.reap()
                if time.monotonic() - shown >= _SHOW_S or not queue.busy:
                    shown = time.monotonic()
                    show(queue.statuses())
                if queue.busy:
                    time.sleep(_POLL_S)
        except BaseException:
            _interrupt(queue.running)
            raise
    return queue.failures


class _Queue:
    """Jobs that wait, run and have ended."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.waiting = deque(job for job in jobs if not job.done())
        self.running: list[_Running] = []
        self.failures: dict[str, Failure] = {}
        self._elsewhere: set[str] = set()
        self._ended = {job.name: _status(job, "done", 0.0) for job in jobs if job not in self.waiting}

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def start(self, parallel: int) -> None:
        """Start jobs while there is room; one whose folder is locked goes to the end of the line."""
        for _ in range(len(self.waiting)):
            if len(self.running) >= parallel:
                return
            job = self.waiting.popleft()
            lock = _lock(job.folder)
            if lock is None:
                self._elsewhere.add(job.name)
                self.waiting.append(job)
                continue
            self._elsewhere.discard(job.name)
            if job.done():  # by the process that had the lock
                self._ended[job.name] = _status(job, "done", 0.0)
                lock.close()
            else:
                job.prepare()
                self.running.append(_Running(job, _launch(job, lock), lock, time.monotonic()))

    def reap(self) -> None:
        """Book the processes that have ended."""
        for active in [active for active in self.running if active.process.poll() is not None]:
            self.running.remove(active)
            active.end()
            job, why = active.job, active.job.why_failed(active.process.returncode)
            active.lock.close()
            if why is not None:
                self.failures[job.name] = Failure(why, job.log, last_lines(job.log))
            self._ended[job.name] = _status(job, "failed" if why else "done", active.seconds)

    def statuses(self) -> list[Status]:
        """In the order of the jobs."""
        now = dict(self._ended)
        for active in self.running:
            now[active.job.name] = _status(active.job, "running", active.seconds)
        for job in self.waiting:
            now[job.name] = _status(job, "elsewhere" if job.name in self._elsewhere else "waiting", 0.0)
        return [now[job.name] for job in self.jobs]


def last_lines(log: Path, count: int = 5) -> tuple[str, ...]:
    """The last lines of a log, where a progress bar's states are lines as well; empty without a log."""
    if not log.is_file():
        return ()
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip() for line in text.replace("\r", "\n").splitlines()]
    return tuple([line for line in lines if line][-count:])


def _lock(folder: Path) -> IO[str] | None:
    """The folder's lock, or None while another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _launch(job: Job, lock: IO[str]) -> subprocess.Popen[bytes] | Fork:
    command = job.command
    process = (
        fork(command, job.log, lock.fileno(), job.environment)
        if isinstance(command, Main)
        else _run(job, command, lock)
    )
    lock.truncate(0)
    lock.write(f"{process.pid}\n")
    lock.flush()
    return process


def _run(job: Job, command: Sequence[str], lock: IO[str]) -> subprocess.Popen[bytes]:
    with job.log.open("ab") as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | job.environment,
            cwd=job.directory,
            pass_fds=[lock.fileno()],
            process_group=0,  # a terminal's Ctrl-C reaches us alone, and we pass it on once
        )


def _status(job: Job, state: str, seconds: float) -> Status:
    return Status(job.name, state, *job.progress(), seconds)


class _Interrupts:
    """Turns signals into KeyboardInterrupt; while they are held, into one at the end of that."""

    def __init__(self) -> None:
        self._holding = self._came = False

    def arrive(self, number: int, frame: FrameType | None) -> None:
        self._came = self._holding
        if not self._holding:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    """Within the block SIGTERM and SIGHUP interrupt as Ctrl-C does (in the main thread, where signals arrive)."""
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupts.arrive) for number in numbers}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(running: Sequence[_Running]) -> None:
    """Ask the processes to stop as Ctrl-C does; end what is still there after the grace time."""
    for active in running:
        if active.process.poll() is None:
            active.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _GRACE_S
    for active in running:
        with suppress(subprocess.TimeoutExpired):
            active.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        active.end()
        active.lock.close()
