"""Completions that exist already, in place of sampled ones: a file of them, and the problems that they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from cepo.data.texts import check_writable
from cepo.errors import DataError, did_you_mean
from cepo.lab.audit.problems import AuditProblem, Given

__all__ = ["read_completions", "with_completions"]

_FORM = '{"id": "...", "completion": "..."}'


def read_completions(path: Path) -> dict[str, tuple[Given, ...]]:
    """Problem id -> its completions, of JSON lines with `id` and `completion`, in the file's order.

    Raises:
        DataError: no file, a line that is none of these, no line at all, no id with two completions.
    """
    if not path.is_file():
        raise DataError(f"no file {str(path)!r} with completions (looked at {path.absolute()})")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    found: dict[str, list[Given]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            name, text = _parsed(line, where)
            found.setdefault(name, []).append(Given(text, where))
    if not found:
        raise DataError(f"{path} holds no completion: write one on each line, as {_FORM}")
    if max(map(len, found.values())) < 2:
        raise DataError(
            f"{path} holds one completion of each problem: a rollout's references are its siblings, so record two or "
            "more of a problem, right and wrong ones"
        )
    return {name: tuple(group) for name, group in found.items()}


def with_completions(
    problems: Sequence[AuditProblem], completions: Mapping[str, tuple[Given, ...]]
) -> list[AuditProblem]:
    """The problems that there are completions of, with them, in the data's order.

    Raises:
        DataError: an id that no problem has.
    """
    names = [str(problem.row["id"]) for problem in problems]
    known = set(names)
    unknown = next((name for name in completions if name not in known), None)
    if unknown is not None:
        raise DataError(
            f"{completions[unknown][0].where}: none of the {len(names)} problems has the id {unknown!r}"
            f"{did_you_mean(unknown, names)}. Name the data that the completions are of (--data, --split, --seed), and "
            "no fewer problems of it (--problems)"
        )
    return [
        replace(problem, given=completions[name])
        for name, problem in zip(names, problems, strict=True)
        if name in completions
    ]


def _parsed(line: str, where: str) -> tuple[str, str]:
    """Id and text of one line; an id may be a whole number, which data's ids are read as text of."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg} at character {error.pos + 1}; write {_FORM}") from None
    if not isinstance(values, dict):
        raise DataError(f"{where} is no object with names: write {_FORM}")
    for name in ("id", "completion"):
        if name not in values:
            raise DataError(f"{where} has no {name!r}, but {', '.join(values) or 'nothing'}: write {_FORM}")
    name, text = values["id"], values["completion"]
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    for what, value in (("id", name), ("completion", text)):
        if not isinstance(value, str):
            raise DataError(f"{where}: {what} must be text, got {json.dumps(value)[:80]}; write {_FORM}")
        check_writable(value, f"{where}: {what}")
    return cast(str, name), cast(str, text)
