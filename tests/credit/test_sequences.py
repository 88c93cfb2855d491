"""The sequences that teachers score: their ids, their images, and which of them begin alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import References
from cepo.credit.rules import METHODS, Rule
from cepo.credit.step import Asking, Row, View, plan_scoring
from cepo.errors import DataError
from cepo.glossary import Told
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.scoring import Images, ScoreRow

TOKENIZER: Any = load_processor(str(EMBEDDED)).tokenizer  # pyright: ignore[reportAttributeAccessIssue]
PICTURE, OTHER = (Images(torch.full((1, 1), value), torch.ones(1, 3, dtype=torch.long)) for value in (0.0, 1.0))
TOKEN = 40
"""A placeholder of an image."""
ROW = Row(0, 4, "Find x.", [11, TOKEN, TOKEN, 12], [21, 22], PICTURE, 1.0)
PLUS, MINUS = Told(("7",), "gold"), Told(("8",), "group")
TOLD: References = {"plus": PLUS, "minus": MINUS}
PROMPTS = TeacherPrompts(TOKENIZER, str, template="{reference}")
SEVEN, EIGHT = (TOKENIZER(text)["input_ids"] for text in "78")


def sequences(
    row: Row = ROW, told: References = TOLD, sees_images: bool = True, token: int | None = TOKEN
) -> list[ScoreRow]:
    """Under r+, r- and the student's own prompt."""
    rule = METHODS["cepo"]
    assert isinstance(rule, Rule)
    asking = Asking(PROMPTS, token, sees_images)
    return [request.sequence for request in plan_scoring([row], {0: told}, rule, asking, with_student=[0])]


def test_teachers_see_what_the_student_saw() -> None:
    plus, minus, student = sequences()
    assert plus == ScoreRow([11, TOKEN, TOKEN, 12, *SEVEN], [21, 22], PICTURE, (4, False))
    assert minus == ScoreRow([11, TOKEN, TOKEN, 12, *EIGHT], [21, 22], PICTURE, (4, False))
    assert student == ScoreRow([11, TOKEN, TOKEN, 12], [21, 22], PICTURE, (4, False))


def test_blind_teachers_share_no_prefix_with_those_that_see() -> None:
    plus, minus, student = sequences(sees_images=False)
    assert plus == ScoreRow([11, 12, *SEVEN], [21, 22], None, (4, True))
    assert minus == ScoreRow([11, 12, *EIGHT], [21, 22], None, (4, True))
    assert student == ScoreRow([11, TOKEN, TOKEN, 12], [21, 22], PICTURE, (4, False))


def test_a_teachers_own_view_is_a_group_of_its_own() -> None:
    """It may have as many images as the student's prompt, but others."""
    plus, minus, student = sequences(replace(ROW, view=View("Look.", [13, TOKEN], OTHER)))
    assert plus == ScoreRow([13, TOKEN, *SEVEN], [21, 22], OTHER, (4, False, "view"))
    assert minus == ScoreRow([13, TOKEN, *EIGHT], [21, 22], OTHER, (4, False, "view"))
    assert student == ScoreRow([11, TOKEN, TOKEN, 12], [21, 22], PICTURE, (4, False))
    blind, _, _ = sequences(replace(ROW, view=View("Look.", [13, TOKEN], OTHER)), sees_images=False)
    assert blind == ScoreRow([13, *SEVEN], [21, 22], None, (4, True, "view"))


def test_a_text_prompt_is_a_group_without_images() -> None:
    plus, _, student = sequences(replace(ROW, prompt_ids=[11, 12], images=None), token=None)
    assert plus == ScoreRow([11, 12, *SEVEN], [21, 22], None, (4, True))
    assert student == ScoreRow([11, 12], [21, 22], None, (4, True))


def test_an_image_within_a_completion_is_refused() -> None:
    tooled = replace(ROW, completion_ids=[21, TOKEN])
    with pytest.raises(DataError, match="a tool answered with an image"):
        sequences(tooled)
    assert sequences(tooled, token=None), "where no token stands for an image it is a token as any other"


def test_a_bare_prompt_is_the_students_own_ids() -> None:
    plus, _, student = sequences(told={"plus": Told(("",), "bare"), "minus": MINUS})
    assert plus == student
    words = TeacherPrompts(TOKENIZER, str)
    assert words.prompt_ids(ROW.prompt, ROW.prompt_ids, "7") != plus.prompt_ids


def test_one_text_in_two_forms_is_two_prompts() -> None:
    """The words around it are not the same."""
    rule = METHODS["cepo"]
    assert isinstance(rule, Rule)
    told: References = {"plus": Told(("7",), "gold"), "minus": Told(("7",), "group", "rationale")}
    asking = Asking(TeacherPrompts(TOKENIZER, str), TOKEN)
    plus, minus = (request.sequence for request in plan_scoring([ROW], {0: told}, rule, asking))
    assert plus.prompt_ids != minus.prompt_ids


def test_rows_of_other_prompts_are_told_in_their_own() -> None:
    """Two rows of one group, one with a prompt of another length (a step's problems may be worded twice)."""
    rule = METHODS["cepo"]
    assert isinstance(rule, Rule)
    rows = [ROW, replace(ROW, index=1, prompt_ids=[11, TOKEN, TOKEN, 12, 14])]
    found = plan_scoring(rows, {0: TOLD, 1: TOLD}, rule, Asking(PROMPTS, TOKEN))
    ends = [[*row.prompt_ids, *block] for row in rows for block in (SEVEN, EIGHT)]
    assert [request.sequence.prompt_ids for request in found] == ends
