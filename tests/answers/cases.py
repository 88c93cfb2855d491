"""The tables of answers that are right and answers that are wrong, as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["Case", "handed", "kinds"]

HERE = Path(__file__).parent


class Case(NamedTuple):
    kind: str
    gold: str
    answer: str
    same: bool
    is_completion: bool = False


def kinds() -> list[Case]:
    """The rows of kinds.txt, which were written for this repository."""
    found, kind = [], ""
    for line in (HERE / "kinds.txt").read_text().splitlines():
        if line.startswith("["):
            is_heading = line.endswith("]") and " || " not in line and " | " not in line
            if is_heading:
                kind = line[1:-1]
                continue
        if line and not line.startswith("#"):
            accepted, _, refused = f" {line} ".partition(" || ")
            gold, *right = _cells(accepted)
            found += [Case(kind, gold, answer, True) for answer in right]
            found += [Case(kind, gold, answer, False) for answer in _cells(refused)]
    return found


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in text.split(" | ") if cell.strip()]


def handed() -> list[Case]:
    """The rows of handed.jsonl, which came with the issue that asked for these rules."""
    rows = [json.loads(line) for line in (HERE / "handed.jsonl").read_text().splitlines()]
    return [Case(row["kind"], row["gold"], row["answer"], row["same"], bool(row["whole_completion"])) for row in rows]
