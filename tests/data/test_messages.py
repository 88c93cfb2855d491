"""Questions and conversations become messages with text only, their image marks counted."""

from __future__ import annotations

from typing import Any

import pytest

from cepo.answers import BOXED, Grading
from cepo.data.messages import completion_text, prompt_messages, solution_text
from cepo.data.rows import user_prompt


def test_each_format_is_asked_for_once():
    for grading in map(Grading, ("boxed", "tags", "phrase", "auto")):
        (asked,) = prompt_messages("Find x.", 0, grading)
        assert asked["content"] == f"Find x.\n{grading.instruction}"
        assert prompt_messages([asked], 0, grading) == [asked]
    (both,) = prompt_messages(r"Find x in \boxed{}.", 0, Grading("tags"))
    assert both["content"].endswith("<answer> and </answer>.")
    assert prompt_messages(r"Find x in \boxed{}.", 0, Grading("auto"))[0]["content"] == r"Find x in \boxed{}."


def test_marks_and_image_parts_are_counted_and_taken_out() -> None:
    assert prompt_messages("<image>\nFind x.", 1) == user_prompt("Find x.")
    assert prompt_messages("Of <image> and <image>, which?", 2) == user_prompt("Of  and , which?")
    assert prompt_messages("Find x.", 3) == user_prompt("Find x.")
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "Find x."}]
    assert prompt_messages([{"role": "user", "content": parts}], 1) == user_prompt("Find x.")
    assert prompt_messages([{"role": "user", "content": [{"type": "image"}]}], 1)[0]["content"] == BOXED.instruction
    with pytest.raises(ValueError, match=r"marks 2 images .* the row has 1"):
        prompt_messages("<image><image> Find x.", 1)
    with pytest.raises(ValueError, match=r"marks 1 images .* the row has 0"):
        prompt_messages([{"role": "user", "content": parts}], 0)


def test_the_instruction_is_added_once_and_to_the_last_question() -> None:
    boxed = [
        {"role": "system", "content": r"Answer in \boxed{}."},
        {"role": "user", "content": "Find x."},
    ]
    assert prompt_messages(boxed, 0) == boxed
    assert prompt_messages(r"Find x in \boxed{x}", 0)[0]["content"] == r"Find x in \boxed{x}"
    turns = [
        {"role": "user", "content": "Find x."},
        {"role": "assistant", "content": "Which?"},
        {"role": "user", "content": "The left one."},
    ]
    assert prompt_messages(turns, 0) == [*turns[:2], *user_prompt("The left one.")]
    assert turns[2]["content"] == "The left one."


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("  ", "asks nothing"),
        (None, "a string or a list of messages, got NoneType"),
        ([], "a string or a list of messages, got list"),
        (["Find x."], "a role of system/user/assistant/tool"),
        ([{"role": "human", "content": "q"}], "a role of system/user/assistant/tool"),
        ([{"role": "system", "content": "q"}], "asks nothing"),
        ([{"role": "user", "content": None}], "text or a list of parts, got None"),
        ([{"role": "user", "content": [{"type": "image", "image": "a.png"}]}], "in the column `images`"),
        ([{"role": "user", "content": [{"type": "video"}]}], "a part is"),
        ([{"role": "user", "content": ["q"]}], "a part is"),
    ],
)
def test_a_malformed_prompt_is_named(prompt: Any, part: str) -> None:
    with pytest.raises(ValueError, match=r"prompt|message|part") as caught:
        prompt_messages(prompt, 0)
    assert part in str(caught.value)


def test_a_solution_has_the_calls_of_its_turns_and_an_answer_has_not() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 7, "unit": "°"}}}
    turns = [
        {"role": "assistant", "content": "first ", "tool_calls": [call, call]},
        {"role": "tool", "name": "add", "content": "10"},
        {"role": "assistant", "tool_calls": [call | {"function": {"name": "stop", "arguments": None}}]},
        {"role": "assistant", "content": " so \\boxed{5}"},
    ]
    assert solution_text(turns) == 'first add(a=7, unit="°") add(a=7, unit="°")\nstop()\n so \\boxed{5}'
    assert completion_text(turns) == "first \n\n so \\boxed{5}"
    assert solution_text("plain") == "plain"
    raw = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": "7"}}]}
    assert solution_text([raw]) == "add(7)"
    with pytest.raises(TypeError, match="list of messages"):
        solution_text([5])  # type: ignore[list-item]
