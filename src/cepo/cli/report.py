"""`cepo report`: runs as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands, add_command

__all__ = ["add"]


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "report", "runs as one HTML page: curves, and the credit of every token",
        "cepo report runs/tiny-text-decisive",
    )  # fmt: skip
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN", help="run folders (or a model or a checkpoint of a run)"
    )
    parser.add_argument("--out", type=Path, default=None, help="default: report.html in the first run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.models.where import as_run
    from cepo.reports.page import write_report
    from cepo.runs.lock import locked

    folders = [as_run(folder) for folder in options.folders]
    out = options.out or folders[0] / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(f".{out.name}.lock"), f"the report {out}", "choose another --out"):
        read_runs = write_report(folders, out)
    for read in read_runs:
        print(f"{read.name}: {len(read.metrics)} metrics, {len(read.rollouts)} rollouts")
        for note in read.notes[:10]:
            print(f"  note: {note}")
    print(f"wrote {out} and {out.with_suffix('.json').name}; open it in any browser")
    return 0
