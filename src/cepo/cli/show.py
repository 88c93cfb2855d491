"""`cepo show`: one rollout's credit in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands, add_command
from cepo.errors import RecordError

__all__ = ["add"]


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "show", "one rollout's tokens in the terminal, coloured by their credit",
        "cepo show runs/tiny-text-decisive --row 0",
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--row", type=int, default=0, help="row within its step")
    parser.add_argument("--step", type=int, default=None, help="default: the first step that has the row")
    parser.add_argument("--by", choices=("evidence", "weight", "advantage"), default="evidence")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from cepo.models.where import as_run
    from cepo.reports.terminal import find_record, show_record

    folder = as_run(options.folder)
    if not (folder / "traces").is_dir():
        raise RecordError(f"{folder} has no traces/: give the run folder of a run with trace_groups above 0")
    show_record(find_record(folder, options.row, options.step), options.by, Console(highlight=False))
    return 0
