"""Every row of the tables: nothing wrong accepted, nothing right refused."""

from __future__ import annotations

import pytest

from cepo.answers import grade, same_answer
from tests.answers.cases import Case, handed, kinds

ROWS = [*kinds(), *handed()]
KINDS = sorted({row.kind for row in ROWS})


def verdict(row: Case) -> bool:
    return grade(row.answer, row.gold) if row.is_completion else same_answer(row.answer, row.gold)


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str) -> None:
    rows = [row for row in ROWS if row.kind == kind]
    assert [row for row in rows if not row.same and verdict(row)] == [], "wrong answers accepted"
    assert [row for row in rows if row.same and not verdict(row)] == [], "right answers refused"


def test_there_are_enough_rows_both_ways() -> None:
    assert sum(row.same for row in ROWS) > 600
    assert sum(not row.same for row in ROWS) > 800
    assert len(handed()) == 78
