"""One line per run on the terminal: a live table where there is a screen, lines on change where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cepo.lab.jobs import Status

__all__ = ["shown"]

_EVERY_S = 60.0


@contextmanager
def shown(title: str) -> Iterator[Callable[[Sequence[Status]], None]]:
    """Within the block the yielded function shows the state of all jobs, on stderr."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines(title)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda statuses: live.update(_table(title, statuses), refresh=True)


class _Lines:
    """Prints a job when its state changes, and running ones every minute."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._states: dict[str, str] = {}
        self._last = time.monotonic()

    def __call__(self, statuses: Sequence[Status]) -> None:
        due = time.monotonic() - self._last >= _EVERY_S
        if due:
            self._last = time.monotonic()
        for status in statuses:
            before = self._states.get(status.name, "waiting")
            if status.state != before or (due and status.state == "running"):
                print(f"cepo: {self.title}: {_line(status)}", file=sys.stderr, flush=True)
            self._states[status.name] = status.state


def _line(status: Status) -> str:
    return f"{status.name:<28} {status.state:<9} {_steps(status):>9}  {_clock(status.seconds)}"


def _table(title: str, statuses: Sequence[Status]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("run", "state", "step", "elapsed"):
        table.add_column(name, justify="left" if name in ("run", "state") else "right")
    colour = {"running": "bold", "failed": "red", "waiting": "dim"}
    for status in statuses:
        cells = (status.name, status.state, _steps(status), _clock(status.seconds))
        table.add_row(*cells, style=colour.get(status.state))
    return table


def _steps(status: Status) -> str:
    return f"{status.step}/{status.steps}"


def _clock(seconds: float) -> str:
    """Minutes and seconds that this process has seen the job run; nothing for one that it has not."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if seconds else ""
