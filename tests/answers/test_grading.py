"""One record says how answers are marked and graded: what it asks for, reads, accepts and refuses agree."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from cepo.answers import BOXED, AnswerFormat, Grading

FORMATS = get_args(AnswerFormat)
GOLDS = ["7", r"\frac{1}{2}", "3.5", "(1, 2)", "B", "x=1, y=2", r"7 \text{ days}", "isosceles", r"\{1, 2\}", "2, 3"]


@pytest.mark.parametrize("answer_format", FORMATS)
@pytest.mark.parametrize("gold", GOLDS)
def test_a_gold_answer_given_as_asked_is_right(answer_format: AnswerFormat, gold: str) -> None:
    grading = Grading(answer_format)
    said = grading.completion(gold)
    assert grading.is_right(said, gold)
    assert grading.is_right(f"I add and get it.\n{said}", gold)
    assert grading.extract(said) == gold
    assert grading.follows(f"I add and get it.\n{said}")
    assert not grading.follows(f"{said}\nIt is 5.")
    assert grading.why_not_gradable(gold) is None
    assert not grading.is_right(f"<think>{said}</think> Hm.", gold)
    thinking = Grading(answer_format, thinking_counts=True)
    assert thinking.is_right(f"<think>{said}</think>", gold)
    assert thinking.extract(f"<think>{said}</think>") == gold


@pytest.mark.parametrize("answer_format", FORMATS)
def test_a_prompt_with_the_instruction_asks_for_the_format(answer_format: AnswerFormat) -> None:
    grading = Grading(answer_format)
    assert grading.is_asked_in(f"What is 1 + 1? {grading.instruction}")
    assert not grading.is_asked_in("What is 1 + 1? Answer in words.")


def test_one_format_is_not_another() -> None:
    said = {one: Grading(one).completion("7") for one in FORMATS}
    for asked in ("boxed", "tags", "phrase"):
        right = {one for one, text in said.items() if Grading(asked).is_right(text, "7")}
        assert right == {asked} | ({"auto"} if asked == "boxed" else set())
    assert all(Grading("auto").is_right(text, "7") for text in said.values())


def test_a_batch_is_graded_in_order_by_either_grader() -> None:
    texts = [r"\boxed{7}", r"\boxed{8}", "7", r"\boxed{\frac{14}{2}}"]
    for grader in ("cepo", "math_verify"):
        verdicts = Grading(grader=grader).verdicts(texts, ["7"] * 4)
        assert [verdict.same for verdict in verdicts] == [True, False, False, True], grader
    assert Grading(grader="math_verify").is_right(r"\boxed{(1, 2)}", "(1, 2)"), "a bare gold answer is marked for it"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answer_format": "box"}, "unknown answer_format 'box'; choose from boxed, .*did you mean 'boxed'"),
        ({"grader": "trl"}, "unknown grader 'trl'; choose from cepo, math_verify"),
        ({"thinking_counts": "yes"}, "thinking_counts must be true or false, got 'yes'"),
        ({"grader": "math_verify", "answer_format": "tags"}, "math_verify.*'tags' asks for something else"),
        ({"grader": "math_verify", "answer_format": "phrase"}, "every answer would be wrong: use grader='cepo'"),
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Grading(**fields)


def test_a_gold_answer_that_the_format_cuts_is_refused() -> None:
    reason = Grading("phrase").why_not_gradable("a. b")
    assert reason == "answer_format='phrase' reads 'a' where it stands ('The answer is a. b')"
    assert BOXED.why_not_gradable("a. b") is None
    assert Grading("tags").why_not_gradable("") == "it is empty"
