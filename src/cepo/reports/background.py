"""Work that a training step need not wait for: one job at a time, in order, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Background"]


class Background:
    """Runs jobs in the order in which they are given; a second one waits for the first.

    At most one job is under way, so that what waits to be done is bounded. An interpreter that ends finishes its job.
    An error of a job is raised by the next `start` or `wait`, once.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cepo background")
        self._last: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` once the one before is done.

        Raises:
            Exception: of the job before; `job` is not run then.
        """
        self.wait()
        self._last = self._pool.submit(job)

    def wait(self) -> None:
        """Return once nothing is under way.

        Raises:
            Exception: of the job that was.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()
