"""`cepo report`: runs as one HTML page, once or again and again while they train."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cepo.cli.console import Commands, add_command, say
from cepo.errors import SettingError

if TYPE_CHECKING:
    from cepo.reports.run_data import RunData

__all__ = ["add", "watch"]

EVERY = 10.0
"""Seconds between two looks at a run that trains."""
_REST = 5
"""A watch rests this many times as long as it works, so that a long trace costs the training little."""


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "report", "runs as one HTML page: curves, and the credit of every token",
        "cepo report runs/tiny-text-decisive",
    )  # fmt: skip
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN", help="run folders (or a model or a checkpoint of a run)"
    )
    parser.add_argument("--out", type=Path, default=None, help="default: report.html in the first run")
    parser.add_argument(
        "--watch", type=float, nargs="?", const=EVERY, default=None, metavar="SECONDS",
        help=f"write it again every so many seconds (default: {EVERY:g}) until the runs have ended",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.models.where import as_run
    from cepo.reports.run_data import check_run

    if options.watch is not None and not options.watch >= 1:
        raise SettingError(f"--watch takes seconds between two looks, at least 1, got {options.watch:g}")
    folders = [as_run(folder) for folder in options.folders]
    for folder in folders:
        check_run(folder)
    out = options.out or folders[0] / "report.html"
    read_runs = _write(folders, out, options.watch)
    for read in read_runs:
        print(f"{read.name}: {len(read.metrics)} metrics, {len(read.rollouts)} rollouts")
        for note in read.notes[:10]:
            print(f"  note: {note}")
    print(f"wrote {out} and {out.with_suffix('.json').name}; open it in any browser", flush=True)
    if options.watch is not None:
        try:
            watch(folders, out, options.watch, read_runs)
        except KeyboardInterrupt:
            say("the watch has ended, the training goes on")
    return 0


def watch(folders: Sequence[Path], out: Path, every: float, runs: list[RunData]) -> None:
    """Write the page again whenever the runs have logged something, until all have ended or died.

    Args:
        every: seconds between two looks, more where a page takes long to write.
        runs: as they were read last.
    """
    from cepo.runs.lock import has_died

    seen, told, took, died = _stamps(folders), "", 0.0, False
    while any(run.state == "training" for run in runs) and not died:
        if (line := "; ".join(map(_line, runs))) != told:
            say(line)
            told = line
        time.sleep(max(every, _REST * took))
        open_runs = [folder for folder, run in zip(folders, runs, strict=True) if run.state == "training"]
        died = all(map(has_died, open_runs))  # before the look: what it has written last is read
        if (now := _stamps(folders)) != seen or died:
            began = time.monotonic()
            seen, runs = now, _write(folders, out, None if died else every)
            took = time.monotonic() - began
    for run in runs:
        ended = "its process is gone" if run.state == "training" else f"has {run.state}"
        say(f"{run.name}: {ended} at step {run.step}")


def _line(run: RunData) -> str:
    """Where a run is, and what is unusual about it."""
    from cepo.reports.story import progress
    from cepo.reports.unusual import unusual

    names = ", ".join(remark.name.lower() for remark in unusual(run.metrics))
    return f"{run.name}: {progress(run) or run.state}" + (f"; unusual: {names}" if names else "")


def _stamps(folders: Sequence[Path]) -> list[int]:
    """When each file that a page is made of was changed."""
    names = ("metrics.jsonl", "curve.jsonl", "summary.json", "traces/credit.jsonl")
    return [file.stat().st_mtime_ns for folder in folders for name in names if (file := folder / name).is_file()]


def _write(folders: Sequence[Path], out: Path, every: float | None) -> list[RunData]:
    from cepo.reports.page import write_report
    from cepo.runs.lock import locked

    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(f".{out.name}.lock"), f"the report {out}", "choose another --out"):
        return write_report(folders, out, every)
