"""`cepo data preview`: look at problems."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

from cepo.cli.console import Commands, add_command

__all__ = ["add"]


def add(commands: Commands) -> None:
    says, example = (
        "problems as one HTML page, to look at them before a run",
        "cepo data preview --data chain --limit 12",
    )
    parser = add_command(commands, "data", says, example)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="preview")
    preview = add_command(kinds, "preview", says, example)
    preview.add_argument("--data", default="geometry")
    preview.add_argument("--split", default="train")
    preview.add_argument("--limit", type=int, default=12)
    preview.add_argument("--seed", type=int, default=0)
    preview.add_argument("--out", type=Path, default=Path("preview.html"))
    preview.set_defaults(run=run_preview)


def run_preview(options: argparse.Namespace) -> int:
    from cepo.data.datasets import DataSpec, load_data
    from cepo.geometry import generate
    from cepo.reports.preview import write_preview

    if options.data == "geometry":
        problems = generate(options.split, options.limit, options.seed)
    else:
        spec = DataSpec(options.data, split=options.split, limit=options.limit, seed=options.seed)
        problems = cast(list[dict[str, object]], list(load_data(spec)))
    write_preview(problems, options.out)
    print(f"wrote {options.out}: {len(problems)} problems; open it in any browser")
    return 0
