"""The options that say how answers are marked and graded, shared by the commands that grade."""

from __future__ import annotations

import argparse
from pathlib import Path

from cepo.answers import BOXED, Grading

__all__ = ["add_options", "given_grading", "grading_of"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--answer-format`, `--grader` and `--thinking-counts`; what is left out comes from the run, else the default."""
    parser.add_argument("--answer-format", default=None, help="boxed, tags, phrase or auto (default: the run's, boxed)")
    parser.add_argument("--grader", default=None, help="cepo or math_verify (default: the run's, cepo)")
    parser.add_argument(
        "--thinking-counts", action="store_true", default=None, help="an answer inside of <think> counts"
    )


def given_grading(options: argparse.Namespace, base: Grading = BOXED) -> Grading | None:
    """What the options say, the rest from `base`; None where they say nothing. Raises SettingError."""
    names = ("answer_format", "grader", "thinking_counts")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    kept = {name: getattr(base, name) for name in names}
    return Grading(**kept | given) if given else None


def grading_of(options: argparse.Namespace, model: str) -> Grading:
    """What the options say, over what the run that `model` lies in was trained with, over the default."""
    from cepo.runs.folder import run_grading

    base = run_grading(Path(model))
    return given_grading(options, base) or base
