r"""Workers that can be killed, for mathematics that only math-verify can read.

A model's answer is untrusted: `10^{10^{10}}` keeps sympy busy for ever, inside C code that no Python
exception reaches. math-verify's own timeout is `signal.alarm`, which works in a main thread only. So worker
processes do the algebra; the caller waits on a pipe and kills a worker that is late.

A worker runs `worker.py` as a script. `multiprocessing` is not used to start it, because its spawned
children import the caller's `__main__` again (torch, the training script) and are forbidden inside daemonic
processes such as data-loader workers. POSIX only.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from cepo.errors import GraderError

__all__ = ["MAX_WORKERS", "GraderUnavailable", "Late", "Pool", "Question", "ask", "grader_timeouts"]

MAX_WORKERS = 4
"""Workers at once, at most; each holds about 100 MB. Never more than the machine has cores."""
START_S = 60.0
"""Seconds a worker may take to import math-verify (0.5 s on an idle machine)."""
ORPHAN_S = 1.0
"""Seconds beyond the caller's timeout after which a worker ends itself, should the caller have died."""
_SCRIPT = Path(__file__).with_name("worker.py")

Question = Literal["same_expression", "trl_accuracy"]


class GraderUnavailable(GraderError):
    """The worker cannot start: an installation at fault, never an answer."""


class Late(Exception):
    """No worker answered in time, twice: the question is open, and says nothing of the answer."""


def _launch(pipe: Connection) -> subprocess.Popen[bytes]:
    """The script, with `pipe` as its only way to the world."""
    return subprocess.Popen(
        # -P: this folder's files must not shadow the standard library's.
        [sys.executable, "-P", str(_SCRIPT), str(pipe.fileno())],
        pass_fds=(pipe.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the caller's terminal is the caller's to handle
    )


class Worker:
    """One worker process, started on the first question and again after each one that it did not survive."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def ask(self, question: bytes, timeout_s: float) -> bool | None:
        """The worker's verdict.

        Raises:
            Late: it did not come in time; the worker is gone.
            EOFError, OSError: the worker died over the question, or was found dead.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(question)
            if pipe.poll(timeout_s):
                return json.loads(pipe.recv_bytes())
        except BaseException:
            # An interrupt between question and reply would leave the reply to be read as the next verdict.
            self.stop()
            raise
        self.stop()
        raise Late

    def _start(self) -> Connection:
        ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
        self._pipe = ours
        try:
            with theirs:
                self.process = _launch(theirs)
            reply = ours.recv_bytes() if ours.poll(START_S) else f"silent for {START_S:g} s".encode()
        except (EOFError, OSError) as error:
            reply = repr(error).encode()
        except BaseException:
            self.stop()
            raise
        if reply == b"ready":
            return ours
        self.stop()
        raise GraderUnavailable(
            f"the grader's math-verify process did not start: {reply.decode(errors='replace')}. "
            f"Check `{sys.executable} -c 'import math_verify'`."
        )

    def stop(self) -> None:
        """Kill and reap the process; the next question starts another. Takes no lock, for exit's sake."""
        pipe, process, self._pipe, self.process = self._pipe, self.process, None, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """After a fork, in the child: the process is the parent's."""
        if self._pipe is not None:
            self._pipe.close()  # our copy of it: the worker must still see its end when the parent dies
        if self.process is not None:
            self.process.returncode = 0  # keeps Popen from waiting on a process that is not ours
        self.process, self._pipe = None, None


class Pool:
    """Up to `size` workers, shared by all threads; one that is idle is taken before another is started."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.timeouts = 0
        self._reset()

    def _reset(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._workers = [Worker() for _ in range(self.size)]
        self._idle = list(self._workers)

    def ask(
        self, kind: Question, candidate: str, gold: str, timeout_s: float, until: float | None = None
    ) -> bool | None:
        """A worker's verdict on one question, which may be asked twice: the second time of a fresh worker.

        `until` is a `time.monotonic()` that bounds everything, the wait for a free worker included.

        Raises:
            Late: no verdict in `timeout_s` seconds, twice; counted in `timeouts`.
            GraderUnavailable: a worker cannot start. False would turn every reward of a run to zero.
        """
        wait_s = None if until is None else max(0.0, until - time.monotonic())
        if not self._free.acquire(timeout=wait_s):
            self._count()
            raise Late
        worker = self._take()
        try:
            return self._twice(worker, kind, candidate, gold, timeout_s, until)
        finally:
            self._put(worker)
            self._free.release()

    def _twice(
        self, worker: Worker, kind: Question, candidate: str, gold: str, timeout_s: float, until: float | None
    ) -> bool | None:
        # Twice: a worker found dead may have been killed while idle, and a late one may have been starved of
        # its core or slowed by what earlier questions left behind; neither says anything of this answer.
        for _ in range(2):
            limit_s = timeout_s if until is None else min(timeout_s, until - time.monotonic())
            if limit_s <= 0:
                break
            question = json.dumps([kind, candidate, gold, limit_s + ORPHAN_S]).encode()
            try:
                return worker.ask(question, limit_s)
            except Late:
                continue
            except (EOFError, OSError):
                worker.stop()
        self._count()
        raise Late

    def _count(self) -> None:
        with self._lock:
            self.timeouts += 1

    def _take(self) -> Worker:
        with self._lock:
            return self._idle.pop()

    def _put(self, worker: Worker) -> None:
        with self._lock:
            self._idle.append(worker)

    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The processes that run now, the one that is asked next last."""
        return [worker.process for worker in self._idle if worker.process is not None]

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def forget(self) -> None:
        """After a fork, in the child: processes and holders of locks are the parent's."""
        for worker in self._workers:
            worker.forget()
        self._reset()


POOL = Pool(max(1, min(MAX_WORKERS, os.cpu_count() or 1)))
atexit.register(POOL.stop)
os.register_at_fork(after_in_child=POOL.forget)


def ask(kind: Question, candidate: str, gold: str, timeout_s: float, until: float | None = None) -> bool | None:
    """`Pool.ask` of the pool that this process shares."""
    return POOL.ask(kind, candidate, gold, timeout_s, until)


def grader_timeouts() -> int:
    """How many questions of this process went unanswered since it started; a caller reports the difference."""
    return POOL.timeouts
