"""docs/grader.md says what the grader does: every cell of its tables is graded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cepo.answers import judge, verdict
from cepo.answers.pool import MAX_WORKERS
from cepo.answers.rules import found_by_rules

PAGE = (Path(__file__).parents[2] / "docs" / "grader.md").read_text()


def cells() -> list[tuple[str, str, bool]]:
    """Gold answer, answer, and whether the page calls it right."""
    found = []
    for table in re.findall(r"^\| gold \| right \| wrong \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for line in table.splitlines():
            gold, right, wrong = (re.findall("`([^`]+)`", cell) for cell in re.split(r"(?<=`) \| (?=`)", line))
            assert len(gold) == 1, line
            found += [(gold[0], answer, True) for answer in right] + [(gold[0], answer, False) for answer in wrong]
    return found


def test_the_tables_are_read() -> None:
    assert len(cells()) > 180
    assert {gold for gold, _, _ in cells()} >= {"27.0", "R-r", "18", "64", "2,3", "B", r"\{x|-2<x<3\}"}


@pytest.mark.parametrize(("gold", "answer", "same"), cells())
def test_cell(gold: str, answer: str, same: bool) -> None:
    assert judge(answer, gold).same is same


def test_every_rule_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE))))
    source = "".join((Path(verdict.__file__).parent / name).read_text() for name in ("verdict.py", "rules.py"))
    given = set(re.findall(r'(?:True|False|same|known|\)), "(\w+)"', source))
    assert given - named == set()
    assert found_by_rules("5", "5") == (True, "number")


def test_the_bounds_are_those_of_the_code() -> None:
    assert f"may take\n{verdict.TIMEOUT_S:.0f} s." in PAGE
    assert f"takes {verdict.BATCH_BUDGET_S:.0f} s" in PAGE
    assert f"{2 * verdict.TIMEOUT_S:.0f} s and the start of two workers" in PAGE
    assert f"{verdict.MAX_ANSWER_CHARS} characters" in PAGE
    assert {4: "four"}[MAX_WORKERS] in PAGE
