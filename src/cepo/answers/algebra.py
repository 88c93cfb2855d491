r"""Symbolic equality by math-verify, in a process of its own that can be killed. Private to `cepo.answers`.

A model's answer is untrusted: `10^{10^{10}}` keeps sympy busy for ever, inside C code that no Python
exception reaches. math-verify's own timeout is `signal.alarm`, which works in a main thread only. So one
worker process per process does the algebra; the caller waits on a pipe and kills a worker that is late.

The worker runs this file as a script and imports nothing of cepo. `multiprocessing` is not used to start
it, because its spawned children import the caller's `__main__` again (torch, the training script) and are
forbidden inside daemonic processes such as data-loader workers. POSIX only.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["GraderUnavailable", "same_expression"]

_START_S = 60.0
"""Seconds a worker may take to import math-verify (0.5 s on an idle machine)."""
_ORPHAN_S = 1.0
"""Seconds beyond the caller's timeout after which a worker ends itself, should the caller have died."""
_MEMORY_BYTES = 2 * 1024**3
_YES, _NO, _READY = b"yes", b"no", b"ready"


class GraderUnavailable(RuntimeError):
    """The worker cannot start: an installation at fault, never an answer."""


def _launch(pipe: Connection) -> subprocess.Popen[bytes]:
    """This file as a script, with `pipe` as its only way to the world."""
    return subprocess.Popen(
        # -P: this file's folder holds a `types.py` that must not shadow the standard library's.
        [sys.executable, "-P", __file__, str(pipe.fileno())],
        pass_fds=(pipe.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the caller's terminal is the caller's to handle
    )


class _Worker:
    """One worker process, started on the first question and again after each one that it did not survive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def ask(self, candidate: str, gold: str, rounding: float, timeout_s: float) -> bool:
        """The worker's verdict; False when it is late, or when the question kills two workers."""
        question = json.dumps([candidate, gold, rounding, timeout_s + _ORPHAN_S]).encode()
        with self._lock:
            # Twice: a worker found dead may have been killed while idle, which says nothing of this answer.
            for _ in range(2):
                try:
                    return self._exchange(question, timeout_s)
                except (EOFError, OSError):
                    self.stop()
        return False

    def _exchange(self, question: bytes, timeout_s: float) -> bool:
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(question)
            if pipe.poll(timeout_s):
                return pipe.recv_bytes() == _YES
        except BaseException:
            # An interrupt between question and reply would leave the reply to be read as the next verdict.
            self.stop()
            raise
        self.stop()
        return False

    def _start(self) -> Connection:
        ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
        self._pipe = ours
        try:
            with theirs:
                self._process = _launch(theirs)
            reply = ours.recv_bytes() if ours.poll(_START_S) else f"silent for {_START_S:g} s".encode()
        except (EOFError, OSError) as error:
            reply = repr(error).encode()
        except BaseException:
            self.stop()
            raise
        if reply == _READY:
            return ours
        self.stop()
        raise GraderUnavailable(
            f"the grader's math-verify process did not start: {reply.decode(errors='replace')}. "
            f"Check `{sys.executable} -c 'import math_verify'`."
        )

    def stop(self) -> None:
        """Kill and reap the process; the next question starts another. Takes no lock, for exit's sake."""
        pipe, process, self._pipe, self._process = self._pipe, self._process, None, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """After a fork, in the child: the process and the lock's holder are the parent's."""
        if self._pipe is not None:
            self._pipe.close()  # our copy of it: the worker must still see its end when the parent dies
        if self._process is not None:
            self._process.returncode = 0  # keeps Popen from waiting on a process that is not ours
        self._lock, self._process, self._pipe = threading.Lock(), None, None


_WORKER = _Worker()
atexit.register(_WORKER.stop)
os.register_at_fork(after_in_child=_WORKER.forget)


def same_expression(candidate: str, gold: str, *, rounding: float, timeout_s: float) -> bool:
    """Whether two LaTeX expressions are equal, or `candidate` is a number within `rounding` of `gold`.

    Comparisons wait for one another: one worker serves all threads. A timeout counts from the question, in
    seconds, without the time that a worker takes to start.

    Raises:
        GraderUnavailable: the worker cannot start. False would turn every reward of a run to zero.
    """
    return _WORKER.ask(candidate, gold, rounding, timeout_s)


def _judge() -> Any:
    """The worker's comparison, with math-verify and its parser warm."""
    import logging

    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    # Units and boxes are `cepo.answers`' business; a second opinion here would be a second grader.
    latex = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    config = [LatexExtractionConfig(normalization_config=latex, boxed_match_priority=-1)]

    def judge(candidate: str, gold: str, rounding: float) -> bool:
        ours, theirs = (
            parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=0) for text in (candidate, gold)
        )
        if not (ours and theirs):
            return False
        # Twelve digits for a decimal inside a larger expression: all else is compared exactly.
        if verify(theirs, ours, float_rounding=12, allow_set_relation_comp=True, timeout_seconds=0):
            return True
        return rounding > 0 and bool(abs(ours[0].evalf() - theirs[0]) <= rounding)

    judge(r"\sqrt{8}", r"2\sqrt{2}", 0.0)
    return judge


def _serve(pipe: Connection) -> None:
    """Answer questions until the caller hangs up."""
    import resource

    with contextlib.suppress(ValueError, OSError):  # macOS refuses the limit; the timeout still holds
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default action ends the process, C code or not
    try:
        judge = _judge()
    except Exception as error:
        pipe.send_bytes(repr(error).encode())
        return
    pipe.send_bytes(_READY)
    with contextlib.suppress(EOFError, OSError):
        while True:
            candidate, gold, rounding, limit_s = json.loads(pipe.recv_bytes())
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            try:
                verdict = judge(candidate, gold, rounding)
            except Exception:  # sympy raises whatever it likes on text that is no mathematics
                verdict = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send_bytes(_YES if verdict else _NO)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
