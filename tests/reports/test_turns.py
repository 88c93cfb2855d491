"""Credit by turn, of records in which a tool spoke."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cepo.reports.page import _shown
from cepo.reports.records import CreditRecord, decode, encode
from cepo.reports.terminal import show_record
from cepo.reports.turns import Turn, stretches, turns_of

RECORD = CreditRecord(
    step=1, problem_id="p", row=0, group=0, method="cepo", prompt_text="?", tokens=list("abTTcTd"), token_ids=[0] * 7,
    advantage=[1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 4.0], base_advantage=1.0, reward=1.0,
    evidence=[0.0, -3.0, 9.0, 9.0, 0.25, 9.0, 1.0], weight=[1.0] * 7, said_by_tools=[[2, 4], [5, 6]],
)  # fmt: skip


def test_each_of_the_models_turns_has_its_credit() -> None:
    assert turns_of(RECORD) == [Turn(1, 0, 2, 1.5, 3.0), Turn(2, 4, 5, 0.5, 0.25), Turn(3, 6, 7, 4.0, 1.0)]
    bare = replace(RECORD, advantage=-1.0, evidence=None, weight=None)
    assert [(turn.advantage, turn.evidence) for turn in turns_of(bare)] == [(-1.0, None)] * 3
    assert turns_of(replace(RECORD, said_by_tools=[])) == []


@pytest.mark.parametrize(
    ("spans", "turns"),
    [([[0, 3]], [(3, 7)]), ([[5, 7]], [(0, 5)]), ([[0, 2], [6, 7]], [(2, 6)]), ([[0, 7]], [])],
    ids=["first", "last", "both", "all"],
)
def test_a_tool_may_speak_first_or_last(spans: list[list[int]], turns: list[tuple[int, int]]) -> None:
    assert [(turn.start, turn.end) for turn in turns_of(replace(RECORD, said_by_tools=spans))] == turns


def test_stretches() -> None:
    assert stretches([False, True, True, False, True]) == [[1, 3], [4, 5]]
    assert stretches([]) == stretches([False]) == []
    assert stretches([True]) == [[0, 1]]


def test_records_keep_it_and_older_ones_have_none() -> None:
    content = encode(RECORD, 3)
    assert decode(content) == RECORD
    del content["said_by_tools"]
    assert decode(content).said_by_tools == []


def test_page_and_terminal_say_it() -> None:
    assert _shown(RECORD, packed=False)["turns"] == [
        {"start": 0, "words": "turn 1: 2 tokens, mean advantage +1.500, evidence up to 3.00 nats"},
        {"start": 4, "words": "turn 2: 1 tokens, mean advantage +0.500, evidence up to 0.25 nats"},
        {"start": 6, "words": "turn 3: 1 tokens, mean advantage +4.000, evidence up to 1.00 nats"},
    ]
    console = Console(file=io.StringIO(), width=100)
    show_record(RECORD, "evidence", console)
    assert "turn 3: 1 tokens" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
