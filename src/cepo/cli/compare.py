"""`cepo compare`: methods x seeds under equal budgets, in one folder of tables and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands, add_command, say

__all__ = ["add"]


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "compare", "methods x seeds under equal budgets: tables and figures",
        "cepo compare --config experiments/geometry.yaml --dry-run",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="experiment (YAML), see docs/comparison.md")
    parser.add_argument("--out", type=Path, default=None, help="folder (default: runs/compare/<experiment's name>)")
    parser.add_argument("--only", default=None, help="arms to run now, e.g. grpo,cepo; tables hold all arms")
    parser.add_argument("--dry-run", action="store_true", help="check, and say what would be run")
    parser.add_argument(
        "--reuse", type=Path, action="append", default=[], metavar="FOLDER",
        help="another comparison: copy its finished runs that are equal to ours; may be given again",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.lab.compare.comparison import compare

    out = options.out or Path("runs") / "compare" / options.config.stem
    only = None if options.only is None else [name.strip() for name in options.only.split(",")]
    return compare(options.config, out, only, options.dry_run, say, options.reuse)
