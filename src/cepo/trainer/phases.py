"""Where a step's time goes: generation (with grading), credit (references and scoring), update."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["PhaseClock"]

PHASES: tuple[str, ...] = ("generation", "credit", "update")


class PhaseClock:
    """Seconds of each phase since the last `collect`: on the wall, and of this process's CPU.

    Phases nest: a phase's time excludes that of the phases within it. On an accelerator the clock is read after
    its queue has run dry, a few times a step.
    """

    def __init__(self) -> None:
        self._wall = dict.fromkeys(PHASES, 0.0)
        self._cpu = dict.fromkeys(PHASES, 0.0)
        self._running: list[str] = []
        self._since = (0.0, 0.0)
        self.failed_in: str | None = None
        """The innermost phase that an error ended."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within the block time counts for `name`, one of PHASES."""
        self._book()
        self._running.append(name)
        try:
            yield
        except BaseException:
            self.failed_in = self.failed_in or name
            raise
        finally:
            self._book()
            self._running.pop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within the block no time counts, as in an evaluation; `running` and `failed_in` are kept."""
        self._book()
        kept = dict(self._wall), dict(self._cpu)
        try:
            yield
        finally:
            self._wall, self._cpu = kept

    def collect(self) -> dict[str, float]:
        """`phase/NAME_s` (wall) and `phase/NAME_cpu_s`, seconds since the last call."""
        self._book()
        named = {f"phase/{name}_s": self._wall[name] for name in PHASES}
        named |= {f"phase/{name}_cpu_s": self._cpu[name] for name in PHASES}
        self._wall = dict.fromkeys(PHASES, 0.0)
        self._cpu = dict.fromkeys(PHASES, 0.0)
        return named

    @property
    def running(self) -> str | None:
        """The innermost phase of now."""
        return self._running[-1] if self._running else None

    def _book(self) -> None:
        """Give the time since the last reading to the innermost phase."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = (time.perf_counter(), time.process_time())
        if self._running:
            self._wall[self._running[-1]] += now[0] - self._since[0]
            self._cpu[self._running[-1]] += now[1] - self._since[1]
        self._since = now
