"""`cepo doctor`: what will go wrong with a recipe on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from cepo.cli.console import Commands, add_command

__all__ = ["add", "examine"]

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "doctor", "what will go wrong with a recipe on this machine",
        "cepo doctor --config recipes/tiny_text/decisive.yaml",
    )  # fmt: skip
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--config", type=Path, help="recipe (YAML)")
    asked.add_argument(
        "--table", action="store_true", help="what steps take of memory and time instead, by model and method"
    )
    parser.add_argument(
        "--load", action="store_true", help="load the model's weights too, and compare its scoring with its own forward"
    )
    parser.set_defaults(run=run, takes_fields=True)


def run(options: argparse.Namespace) -> int:
    from cepo.runs.recipe import load_recipe, parse_overrides

    if options.table:
        return _print_table()
    return int(examine(load_recipe(options.config), parse_overrides(options.fields), options.load))


def examine(recipe: Mapping[str, object], overrides: Mapping[str, object], load: bool) -> bool:
    """Print what the doctor finds in a recipe with some fields overridden, and return whether anything would fail."""
    from rich.console import Console
    from rich.markup import escape

    from cepo.runs.doctor import diagnose
    from cepo.runs.recipe import resolve_recipe

    here = {} if _bf16_can_be_set() else {"bf16": "false"}
    console, failed = Console(highlight=False, soft_wrap=True), False
    for finding in diagnose(*resolve_recipe({**recipe, **here, **overrides}), load=load):
        failed |= finding.verdict == "fail"
        console.print(f"{MARKS[finding.verdict]} {escape(finding.name):14s} {escape(finding.seen)}")
        if finding.remedy:
            console.print(f"                    -> {escape(finding.remedy)}")
    return failed


def _print_table() -> int:
    from cepo.runs.cost_table import table_lines

    print("\n".join(table_lines()))
    return 0


def _bf16_can_be_set() -> bool:
    """transformers refuses bf16 where neither a GPU nor the CPU has it; the doctor goes on and says so."""
    import torch

    return torch.accelerator.is_available()
