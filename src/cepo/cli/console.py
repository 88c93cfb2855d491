"""What the commands share: how they are added, how they refuse, and how they speak while they work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

from cepo.errors import did_you_mean

__all__ = ["Commands", "Parser", "add_command", "check_command", "listing", "say"]


class Parser(argparse.ArgumentParser):
    """Refuses with one line, and an example of a command that works."""

    example: str | None = None

    def error(self, message: str) -> NoReturn:
        """Exit with 2. The usage, ten lines of a long command, stands in `--help`."""
        shown = "" if self.example is None else f"\n  for example: {self.example}"
        self.exit(2, f"{self.prog}: error: {message}{shown}\n  all options: {self.prog} --help\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # its public name: what `add_subparsers` returns
"""What a command adds its parser to."""


def add_command(commands: Commands, name: str, says: str, example: str) -> Parser:
    """The parser of a command.

    Args:
        says: what it does, in at most 65 characters: its line in the list of all commands.
        example: a command line that works, shown by `--help` and wherever something is missing.
    """
    parser = commands.add_parser(name, help=says, description=f"{says}.", epilog=f"example: {example}")
    parser.example = example
    return parser


def listing(commands: Commands, groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """All commands with what they do, by group.

    Args:
        groups: title -> names, in the order of showing.
    """
    lines = []
    for title, names in groups:
        lines.append(f"\n{title}:")
        lines += [f"  {name:8} {(commands.choices[name].description or '').removesuffix('.')}" for name in names]
    return "\n".join(lines)


def check_command(words: Sequence[str], commands: Commands, parser: Parser) -> None:
    """Exit with 2 where the first word is no command and no option of `cepo`; the nearest command is suggested."""
    first = next(iter(words), "--help")
    if first not in commands.choices and first not in ("-h", "--help", "--version"):
        parser.error(f"there is no command {first!r}{did_you_mean(first, commands.choices)}")


def say(text: str) -> None:
    """To stderr: stdout is for the result."""
    print(f"cepo: {text}", file=sys.stderr, flush=True)
