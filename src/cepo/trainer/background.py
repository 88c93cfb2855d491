"""Work that a training step need not wait for: one job at a time, in order, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Runs jobs in the order in which they are given; a second one waits for the first.

    At most one job is under way, so that what waits to be done is bounded. The thread is no daemon: an interpreter
    that ends finishes its job. An error of a job is raised by the next `start` or `wait`, once.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` once the one before is done.

        Raises:
            Exception: of the job before; `job` is not run then.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="cepo background")
        self._thread.start()

    def wait(self) -> None:
        """Return once nothing is under way.

        Raises:
            Exception: of the job that was.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            self._error = error
