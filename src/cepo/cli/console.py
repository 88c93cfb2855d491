"""What the commands share: how they are added, and how they speak while they work."""

from __future__ import annotations

import argparse
import sys

__all__ = ["Commands", "say"]

Commands = argparse._SubParsersAction  # its public name is the return type of `add_subparsers`
"""What a command adds its parser to."""


def say(text: str) -> None:
    """To stderr: stdout is for the result."""
    print(f"cepo: {text}", file=sys.stderr, flush=True)
