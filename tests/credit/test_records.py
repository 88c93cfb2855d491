"""Records of a step's credit: which rows, and what is said of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cepo.credit.groups import LocalGroups
from cepo.credit.records import RecordMaker, TracedRow, digest, rows_to_record
from cepo.credit.rules import Credit, Knobs
from cepo.glossary import Told
from cepo.reports.records import CreditRecord
from tests.credit.test_step import BOTH, GROUPS, TOKENIZER, rule, step

IDS = TOKENIZER("What is x?")["input_ids"]


def traced(index: int, length: int = 3, own: tuple[bool, ...] = (True, False, True, False)) -> TracedRow:
    return TracedRow(index, f"p{index}", IDS, list(range(21, 21 + length)), own, 0.5)


def recorded(*rows: TracedRow, maker: RecordMaker | None = None, **more: Any) -> list[CreditRecord]:
    """Of a step that gave the second and the first row credit, in this order."""
    stream = torch.arange(8.0).view(2, 4)
    told = {0: BOTH, 1: {**BOTH, "minus": Told((), "rlsd")}, 2: {}}
    logps = {0: {"plus": stream[1], "minus": stream[0]}, 1: {name: stream[0] for name in ("plus", "minus", "student")}}
    asked = step(rule("cepo"), rows=(1, 0), logps=logps, credit=Credit(-stream, stream / 10, stream + 1))
    return (maker or RecordMaker(TOKENIZER))(replace(asked, references=told, **more), rows)


def test_a_record_is_what_the_step_was() -> None:
    one = recorded(traced(0), knobs=Knobs(0.25, 0.125, 0.5))[0]
    assert one == CreditRecord(
        step=3, problem_id="p0", row=12, group=4, method="cepo", prompt_text="What is x?", token_ids=[21, 22, 23],
        tokens=[TOKENIZER.decode([token]) for token in (21, 22, 23)], advantage=[5.0, 6.0, 7.0], base_advantage=0.5,
        reward=1.0, correct=True, answer="7", gold="7", told=dict(BOTH),
        logps={"plus": [4.0, 5.0, 6.0], "minus": [0.0, 1.0, 2.0]}, evidence=[-4.0, -5.0, -6.0],
        weight=one.weight, said_by_tools=[[1, 2]], strength=0.25, clip=0.125, dead_zone=0.5,
    )  # fmt: skip
    assert one.weight == torch.tensor([0.4, 0.5, 0.6]).tolist()


def test_a_prompt_that_told_nothing_has_no_log_probs_of_its_own() -> None:
    """The student's own stand under their name, once."""
    assert list(recorded(traced(1))[0].logps) == ["plus", "student"]


def test_a_rule_without_prompts_has_credit_and_no_log_probs() -> None:
    (one,) = recorded(traced(0), logps={})
    assert (one.evidence, one.logps) == ([-4.0, -5.0, -6.0], {})


def test_a_row_without_credit_has_its_advantage_and_no_more() -> None:
    for one in (*recorded(traced(2)), *recorded(traced(0), credit=None)):
        assert (one.advantage, one.evidence, one.weight, one.logps) == (0.5, None, None, {})


def test_images_are_left_out_of_the_prompts_text() -> None:
    image = IDS[1]
    found = recorded(traced(0), traced(1), maker=RecordMaker(TOKENIZER, image))
    assert {one.prompt_text for one in found} == {TOKENIZER.decode([token for token in IDS if token != image])}


def test_decided_groups_are_recorded_first_whole_and_by_draw() -> None:
    decided, equal = GROUPS.groups[4], GROUPS.groups[5]
    groups = LocalGroups(
        dict(enumerate((equal, decided, decided, decided))), {row: divmod(row, 3) for row in range(12)}
    )
    drawn = [rows_to_record(groups, 1, 0, number) for number in range(20)]
    assert {tuple(rows) for rows in drawn} == {(3, 4, 5), (6, 7, 8), (9, 10, 11)}
    assert drawn == [rows_to_record(groups, 1, 0, number) for number in range(20)]
    assert drawn != [rows_to_record(groups, 1, 1, number) for number in range(20)]
    assert rows_to_record(groups, 3, 0, 1) == list(range(3, 12))
    assert rows_to_record(groups, 4, 0, 1) == list(range(12))
    assert rows_to_record(groups, 0, 0, 1) == []


def test_a_problem_without_an_id_has_one_of_what_it_is_made_of() -> None:
    assert digest(("a", 1)) == digest(("a", 1)) != digest(("a", 2))
    assert len(digest("a")) == 16
