"""`cepo grade`: verdicts on answers against gold answers, with the rule that decided and the time it took."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cepo.cli.console import Commands, add_command
from cepo.errors import DataError, did_you_mean

__all__ = ["add"]

_FIELDS = {"golds": ("gold", "answer", "solution"), "answers": ("completion", "answer", "prediction")}


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "grade",
        "what counts as correct, and by which rule",
        "cepo grade --golds golds.txt --answers answers.txt",
    )
    parser.add_argument("--golds", type=Path, required=True, help="gold answers: one a line, or JSONL")
    parser.add_argument("--answers", type=Path, required=True, help="answers, one for each gold: one a line, or JSONL")
    parser.add_argument("--field", default=None, help="field of JSONL rows (default: the usual names)")
    parser.add_argument(
        "--completions",
        choices=("boxed", "tags", "phrase", "auto"),
        default=None,
        metavar="FORMAT",
        help="the answers are whole completions that mark their answer so: boxed, tags, phrase or auto",
    )
    parser.add_argument("--grader", choices=("cepo", "math_verify", "both"), default="cepo")
    parser.add_argument("--only", choices=("right", "wrong", "differ", "late"), default=None, help="rows to print")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.answers import extract_answer, grader_timeouts, judge_many

    golds, texts = (_lines(getattr(options, name), name, options.field) for name in ("golds", "answers"))
    if len(golds) != len(texts):
        raise DataError(
            f"{options.golds} has {len(golds)} gold answers and {options.answers} {len(texts)} answers: each gold "
            "answer needs one answer, in the same order (an empty line is an empty answer)"
        )
    verdicts = {}
    if options.grader in ("cepo", "both"):
        answers = [extract_answer(text, options.completions) if options.completions else text for text in texts]
        verdicts["cepo"] = judge_many(answers, golds)
    if options.grader in ("math_verify", "both"):
        # TRL's reward looks for the answer in a whole completion.
        completions = texts if options.completions else [rf"\boxed{{{text}}}" for text in texts]
        marked = golds if options.completions else [f"${gold}$" for gold in golds]
        verdicts["math_verify"] = judge_many(completions, marked, grader="math_verify")
    _print(golds, texts, verdicts, options.only)
    if late := grader_timeouts():
        print(f"cepo: {late} questions were not answered in time and count as wrong", file=sys.stderr)
    return 0


def _lines(path: Path, kind: str, field: str | None) -> list[str]:
    """One text a line, or of each JSON line.

    Raises:
        DataError: no such file, nothing in it, not UTF-8, a line that is no JSON, or a row without the field.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"--{kind}: the file {str(path)!r} {found}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"--{kind}: {path} is not UTF-8 text ({error})") from None
    lines = [line.removesuffix("\r") for line in lines[: -1 if lines[-1] == "" else None]]
    if not any(line.strip() for line in lines):
        raise DataError(f"--{kind}: {path} is empty")
    is_json = path.suffix in (".jsonl", ".json")
    if field is not None and not is_json:
        raise DataError(f"--field {field!r}: {path} has no fields; its name must end in .jsonl")
    if not is_json:
        return lines
    names = (field,) if field else _FIELDS[kind]
    return [_value(line, names, f"{path}, line {at}") for at, line in enumerate(lines, 1)]


def _value(line: str, names: tuple[str, ...], where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error}); a .jsonl file has one JSON value a line") from None
    if not isinstance(row, dict):
        row = {names[0]: row}
    name = next((name for name in names if name in row), None)
    if name is None:
        has = f"it has {', '.join(map(repr, row)) or 'none'}"
        near = did_you_mean(names[0], row)
        raise DataError(f"{where}: no field {' or '.join(map(repr, names))} ({has}); name one with --field{near}")
    if not isinstance(row[name], str | int | float) or isinstance(row[name], bool):
        raise DataError(f"{where}: {name} is {json.dumps(row[name]):.80}, neither a text nor a number")
    return str(row[name])


def _print(golds: list[str], texts: list[str], verdicts: dict[str, list[Any]], only: str | None) -> None:
    header = [f"{name:>11}  {'rule':7} {'ms':>8}" for name in verdicts]
    print("  ".join(header) + "  gold | answer")
    for row, (gold, text) in enumerate(zip(golds, texts, strict=True)):
        found = [one[row] for one in verdicts.values()]
        if _is_wanted(found, only):
            cells = [f"{_WORDS[one.same]:>11}  {one.rule:7} {one.seconds * 1e3:8.2f}" for one in found]
            print("  ".join(cells) + f"  {gold} | {text[-100:]}".replace("\n", " "))
    for name, found in verdicts.items():
        print(f"{name}: {_summary(found)}")


_WORDS = {True: "right", False: "wrong", None: "no verdict"}


def _is_wanted(found: list[Any], only: str | None) -> bool:
    if only == "differ":
        return len({one.same for one in found}) > 1
    if only == "late":
        return any(one.is_late for one in found)
    return only is None or any(one.same is (only == "right") for one in found)


def _summary(found: list[Any]) -> str:
    times = sorted(one.seconds * 1e3 for one in found) or [0.0]
    right = sum(one.same is True for one in found)
    middle, tail = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    return f"{right} of {len(found)} right; median {middle:.2f} ms, 99% below {tail:.2f} ms, longest {times[-1]:.2f} ms"
