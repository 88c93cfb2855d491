"""`cepo report`: runs as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    parser = commands.add_parser("report", help="runs as one HTML page: curves, and the credit of every token")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, default=None, help="default: report.html in the first run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.reports.page import write_report

    out = options.out or options.folders[0] / "report.html"
    for read in write_report(options.folders, out):
        print(f"{read.name}: {len(read.metrics)} metrics, {len(read.rollouts)} rollouts")
        for note in read.notes[:10]:
            print(f"  note: {note}")
    print(f"wrote {out} and {out.with_suffix('.json').name}; open it in any browser")
    return 0
