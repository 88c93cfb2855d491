"""Graded completions as records: saved as JSON lines, loaded, and graded again without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from cepo.answers import BOXED, Grading
from cepo.errors import RecordError, SettingError

__all__ = ["Generation", "graded", "load_generations", "regrade", "save_generations"]

_BATCH = 256
"""Completions that are graded together, under one budget of the grader's."""
_NEWER = {"late", "grading"}
"""Fields that records of older versions lack."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion of one problem, graded.

    `answer` is the gold answer; `extracted` is what the grader read (None: no answer); `truncated` says that the
    completion reached the token limit without an end token. `family` is None where the data has none. `late`: the
    grader ran out of time, so that `correct` is False and says nothing of the answer. `grading` is how it was graded.
    """

    id: str
    family: str | None
    answer: str
    text: str
    extracted: str | None
    correct: bool
    truncated: bool
    late: bool = False
    grading: Grading = BOXED


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


def regrade(generations: Sequence[Generation], grading: Grading | None = None) -> list[Generation]:
    """The same texts under today's grader: the verdicts anew, all else as it was. `grading` None: each one's own."""
    found = list(generations)
    for start in range(0, len(found), _BATCH):
        found[start : start + _BATCH] = graded(found[start : start + _BATCH], grading)
    return found


def graded(generations: Sequence[Generation], grading: Grading | None = None) -> list[Generation]:
    """The same texts with their verdicts, graded as one batch for each `Grading` (None: each one's own)."""
    found = list(generations)
    for used in dict.fromkeys(grading or one.grading for one in found):
        rows = [row for row, one in enumerate(found) if (grading or one.grading) == used]
        verdicts = used.verdicts([found[row].text for row in rows], [found[row].answer for row in rows])
        for row, verdict in zip(rows, verdicts, strict=True):
            found[row] = replace(
                found[row],
                extracted=used.extract(found[row].text),
                correct=verdict.same is True,
                late=verdict.is_late,
                grading=used,
            )
    return found


def _parsed(line: str, where: str) -> Generation:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordError(f"{where}: not JSON ({error})") from error
    names = {field.name for field in fields(Generation)}
    if not isinstance(values, dict) or set(values) | _NEWER != names:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise RecordError(f"{where}: a generation has the fields {sorted(names)}, found {found}")
    try:
        values["grading"] = Grading(**values.get("grading") or {})
        return Generation(**values)
    except (SettingError, TypeError) as error:
        raise RecordError(f"{where}: {error}") from error
