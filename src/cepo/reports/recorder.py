"""Credit records of a run's steps, written beside the steps that follow. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from cepo.reports.background import Background
from cepo.reports.records import CreditRecord
from cepo.reports.traces import TraceWriter

__all__ = ["TRACE_GROUPS", "TRACE_MAX_MB", "Recorded", "Recorder"]

TRACE_GROUPS = 2
"""Groups of a step that are recorded, where nothing else is asked for."""
TRACE_MAX_MB = 64
"""Bound on a run's records, MiB, likewise."""

Recorded = tuple[Sequence[CreditRecord], Sequence[Image.Image | None]]
"""Records, and for each its problem's image or None."""


class Recorder:
    """Writes to the trace in `folder`, in a thread, in the order of steps.

    What cannot be made or written is said once and ends the records, not the run. `flush` waits for the thread: before
    a checkpoint is whole and at the training's end, so that what a resumed run counts as done is recorded.

    Args:
        folder: of the trace, which is opened at the first record: records of that step and later are a killed run's.
        max_bytes: bound on the trace.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._writer: TraceWriter | None = None
        self._background = Background()
        self._step = 0
        self._has_failed = False

    @property
    def is_open(self) -> bool:
        """Whether another step's records would be written."""
        return not self._has_failed and (self._writer is None or self._writer.active)

    def write(self, step: int, make: Callable[[], Recorded]) -> None:
        """Append what `make` gives, which is called at once."""
        self._guarded(lambda: self._start(step, make))

    def flush(self) -> None:
        """Return once every record is on disk."""
        self._guarded(self._background.wait)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._has_failed = True
            warnings.warn(
                f"the credit of step {self._step} could not be recorded, and no later step's will be; the run goes on: "
                f"{type(error).__name__}: {error}",
                stacklevel=4,
            )

    def _start(self, step: int, make: Callable[[], Recorded]) -> None:
        self._background.wait()
        self._step = step
        if self._writer is None:
            self._writer = TraceWriter(self._folder, resume_step=step - 1, max_bytes=self._max_bytes)
        records, images = make()
        self._background.start(partial(self._writer.write_step, records, images))
