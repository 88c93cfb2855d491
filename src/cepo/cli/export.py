"""`cepo export`: a run as a plain Hugging Face folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands, add_command

__all__ = ["add"]


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "export", "a run as a plain Hugging Face folder, LoRA merged",
        "cepo export runs/tiny-text-decisive --out exported",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=Path, help="a run folder, its model, a checkpoint, an adapter or a model", metavar="RUN"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must be empty")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.runs.export import export_run

    print(f"wrote {export_run(options.folder, options.out)}: loads with plain transformers, equal logits")
    return 0
