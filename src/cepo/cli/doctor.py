"""`cepo doctor`: what will go wrong with a recipe on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.cli.console import Commands
from cepo.errors import SettingError

__all__ = ["add"]

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def add(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="check a recipe on this machine: versions, devices, data, memory")
    parser.add_argument("--config", type=Path, help="recipe (YAML)")
    parser.add_argument(
        "--table", action="store_true", help="memory and time of a step by model, method, LoRA, GPUs and length instead"
    )
    parser.add_argument(
        "--load", action="store_true", help="load the model's weights too, and compare its scoring with its own forward"
    )
    parser.set_defaults(run=run, takes_fields=True)


def run(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.markup import escape

    if options.table:
        return _print_table()
    if options.config is None:
        raise SettingError("cepo doctor needs a recipe (--config RECIPE.yaml), or --table for what steps cost")
    from cepo.runs.doctor import diagnose
    from cepo.runs.recipe import load_recipe, parse_overrides, resolve_recipe

    here = {"bf16": "false"} if not _bf16_can_be_set() else {}
    values = load_recipe(options.config) | here | parse_overrides(options.fields)
    console, failed = Console(highlight=False, soft_wrap=True), False
    for finding in diagnose(*resolve_recipe(values), load=options.load):
        failed |= finding.verdict == "fail"
        console.print(f"{MARKS[finding.verdict]} {escape(finding.name):14s} {escape(finding.seen)}")
        if finding.remedy:
            console.print(f"                    -> {escape(finding.remedy)}")
    return 1 if failed else 0


def _print_table() -> int:
    from cepo.runs.cost_table import table_lines

    print("\n".join(table_lines()))
    return 0


def _bf16_can_be_set() -> bool:
    """transformers refuses bf16 where neither a GPU nor the CPU has it; the doctor goes on and says so."""
    import torch

    return torch.accelerator.is_available()
