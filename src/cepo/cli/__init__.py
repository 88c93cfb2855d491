"""The command line: parse, call, print. One file per command; `cepo --help` lists them."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from urllib.parse import urlparse

from cepo._version import __version__
from cepo.cli import audit, compare, data, doctor, evaluate, export, grade, launch, report, show, train

__all__ = ["main"]

COMMANDS = (train, evaluate, audit, compare, data, report, show, grade, doctor, launch, export)
"""Modules with `add(commands)`: it adds a parser whose default `run` takes the options and returns an exit code.

A module imports nothing heavy at its top: `cepo --help` answers at once.
"""

EXPECTED = (ValueError, OSError, RuntimeError, TypeError, ImportError)
"""Errors with a message for the user: printed as one line. `CEPO_TRACEBACK=1` shows where they came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="cepo", description="Token-level credit for RLVR.")
    parser.add_argument("--version", action="version", version=f"cepo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "takes_fields", False):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    options.fields = rest
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _offline_without_a_hub()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of our hosts' own deprecations
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("cepo: interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if os.environ.get("CEPO_TRACEBACK"):
            traceback.print_exc()
        print(f"cepo: error: {error}", file=sys.stderr)
        return 2


def _offline_without_a_hub() -> None:
    """Where the hub's name does not resolve, use what is cached at once: the hub's client retries for minutes."""
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
