"""Graded completions as records: saved as JSON lines, loaded, and graded again without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from cepo.answers import extract_answer, same_answer
from cepo.errors import RecordError

__all__ = ["Generation", "load_generations", "regrade", "save_generations", "verdict"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion of one problem, graded.

    `answer` is the gold answer; `extracted` is what the grader read (None: nothing boxed); `truncated` says
    that the completion reached the token limit without an end token. `family` is None where the data has none.
    """

    id: str
    family: str | None
    answer: str
    text: str
    extracted: str | None
    correct: bool
    truncated: bool


def save_generations(generations: Iterable[Generation], path: str | Path) -> None:
    """Write one JSON object per generation and line; a file that is there is replaced, by the whole new one."""
    part = Path(f"{path}.part")
    with part.open("w", encoding="utf-8") as file:
        for generation in generations:
            file.write(json.dumps(asdict(generation)) + "\n")
    os.replace(part, path)


def load_generations(path: str | Path) -> list[Generation]:
    """Read what `save_generations` wrote.

    Raises:
        RecordError: a line that is no generation, named by its number.
    """
    with Path(path).open(encoding="utf-8") as file:
        return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(file, start=1)]


def regrade(generations: Iterable[Generation]) -> list[Generation]:
    """The same texts under today's grader: `extracted` and `correct` anew, all else as it was."""
    return [replace(generation, **verdict(generation.text, generation.answer)) for generation in generations]


def verdict(text: str, gold: str) -> dict[str, Any]:
    """The fields `extracted` and `correct` of a completion under `cepo.answers`."""
    extracted = extract_answer(text)
    return {"extracted": extracted, "correct": same_answer(extracted, gold)}


def _parsed(line: str, where: str) -> Generation:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordError(f"{where}: not JSON ({error})") from error
    names = {field.name for field in fields(Generation)}
    if not isinstance(values, dict) or set(values) != names:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise RecordError(f"{where}: a generation has the fields {sorted(names)}, found {found}")
    return Generation(**values)
