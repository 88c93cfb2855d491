"""The command line: parse, call, print. One file per command; `cepo` alone lists them."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from urllib.parse import urlparse

from cepo._version import __version__
from cepo.cli import audit, compare, data, doctor, evaluate, export, grade, init, launch, report, show, train
from cepo.cli.console import Commands, Parser, check_command, listing
from cepo.cli.failures import explain

__all__ = ["build_parser", "main"]

COMMANDS = (init, train, evaluate, audit, compare, data, report, show, grade, doctor, launch, export)
"""Modules with `add(commands)`: it adds a parser whose default `run` takes the options and returns an exit code.

A module imports nothing heavy at its top: `cepo --help` answers at once.
"""

GROUPS = (
    ("Train", ("init", "doctor", "train", "launch", "export")),
    ("Look", ("report", "show", "data")),
    ("Measure", ("eval", "compare", "audit", "grade")),
)
"""How they are listed: every command once."""


def build_parser() -> tuple[Parser, Commands]:
    """The parser of the command line, and its commands."""
    parser = Parser(prog="cepo", usage="cepo COMMAND ...", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"cepo {__version__}")
    commands = parser.add_subparsers(prog="cepo", dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    for module in COMMANDS:
        module.add(commands)
    parser.description = (
        f"Token-level credit for RLVR.\n{listing(commands, GROUPS)}\n\n"
        "`cepo COMMAND --help` says more. See it work: make demo, or\n"
        "  cepo train --config recipes/tiny_text/decisive.yaml"
    )
    return parser, commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 done, 1 failed or a bug, 2 wrong input, 3 a training that a callback ended early; 129, 130 and 143: stopped by
    SIGHUP, Ctrl-C and SIGTERM, with all that is needed to go on saved.

    With `CEPO_TRACEBACK=1` an error shows where it came from.
    """
    parser, commands = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        check_command(words, commands, parser)
        options, rest = parser.parse_known_args(words or ["--help"])
        if rest and not getattr(options, "takes_fields", False):
            commands.choices[options.command].error(f"unknown arguments: {' '.join(rest)}")
    except SystemExit as said:  # what was wrong, or --help into a pipe that may be closed
        return _flushed(int(said.code or 0))
    options.fields = rest
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _offline_without_a_hub()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of our hosts' own deprecations
    try:
        return _flushed(options.run(options))
    except KeyboardInterrupt as error:
        print("cepo: interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 128 + getattr(error, "signal", signal.SIGINT)
    except BrokenPipeError:
        return _closed()
    except Exception as error:
        if os.environ.get("CEPO_TRACEBACK"):
            traceback.print_exc()
        line, code = explain(error)
        print(line, file=sys.stderr)
        return code


def _flushed(code: int) -> int:
    """The exit code, once everything is printed, while a closed pipe can still be answered."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _closed()


def _closed() -> int:
    """The reader, such as `| head`, has seen enough: end quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _offline_without_a_hub() -> None:
    """Where the hub's name does not resolve, use what is cached at once: the hub's client retries for minutes."""
    if "HF_HUB_OFFLINE" in os.environ:
        return
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
