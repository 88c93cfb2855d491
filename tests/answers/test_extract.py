r"""Where a completion's answer stands: the last well-formed `\boxed{...}`, found in linear time."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cepo.answers import AnswerFormat, boxed_spans, extract_answer, follows_format


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed {5}", "5"),
        (r"\boxed{ 5 }.", "5"),
        (r"\boxed{3} no, \boxed{4}", "4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{a\\}", r"a\\"),  # a line break, then the box's own brace
        (r"a\\\boxed{5}", "5"),
        (r"\boxed{3} then \boxed{4", "3"),
        (r"\boxed{\frac{1}{2 } then \boxed{3}", "3"),
        (r"} \boxed{5} {", "5"),
        (r"\boxed{1 + \boxed{2}}", "2"),
        ("\\boxed{two\nlines}", "two\nlines"),
        (r"\boxed{3} \boxed{}", None),
        (r"\boxed{  }", None),
        (r"\boxed{5", None),
        (r"\boxed5", "5"),  # TeX boxes one token; a model means the number
        (r"so \boxed 72.", "72"),
        (r"so \boxed -3.5, as", "-3.5"),
        (r"\boxed\frac{1}{2}", r"\frac{1}{2}"),
        (r"\\boxed{5}", "5"),  # a backslash that was doubled on its way through JSON
        (r"\fbox{5}", None),
        (r"\boxedanswer{5}", None),
        ("5", None),
        ("", None),
    ],
)
def test_the_last_box_is_the_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_spans_hold_the_contents_in_order() -> None:
    text = r"\boxed{1 + \boxed{2}} and \boxed{3}"
    assert [text[start:end] for start, end in boxed_spans(text)] == [r"1 + \boxed{2}", "2", "3"]


BALANCED = st.recursive(
    st.text(st.characters(blacklist_characters="\\{}", blacklist_categories=["Cs"]), max_size=6)
    | st.sampled_from([r"\{", r"\}", r"\\", r"\frac", r"\boxe "]),
    lambda inner: st.lists(inner, max_size=3).map("".join) | inner.map(lambda text: "{" + text + "}"),
    max_leaves=8,
)


@given(BALANCED, BALANCED, st.text(st.characters(blacklist_characters="\\{}"), max_size=10))
def test_what_is_boxed_is_what_is_extracted(before: str, content: str, after: str) -> None:
    assume("\\boxed" not in before + content)
    assert extract_answer(f"{before}\\boxed{{{content}}}{after}") == (content.strip() or None)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 300_000,
        "{" * 2_000_000,
        "}" * 2_000_000,
        "\\" * 2_000_001,
        "\\boxed" + " " * 2_000_000,
        "\\boxed " * 300_000,
        "\\boxed{" * 120_000 + "}" * 120_000,
    ],
    ids=["open boxes", "open", "closed", "backslashes", "spaces", "boxed spaces", "nested boxes"],
)
def test_megabytes_are_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    extract_answer(text)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    "piece",
    [
        "<answer>",
        "</answer><answer>",
        "<think>",
        "the answer is ",
        "answer to ",
        "\\boxed{1},",
        "\\boxed 1",
        "\\boxed{1} \\approx ",
    ],
)
def test_no_format_takes_long_over_a_long_text(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    start = time.process_time()
    for answer_format in get_args(AnswerFormat):
        extract_answer(text, answer_format)
        follows_format(text, answer_format)
    assert time.process_time() - start < 4.0


def test_a_box_is_found_at_the_end_of_megabytes() -> None:
    assert extract_answer("{" * 3_000_000 + r" \boxed{5}") == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The roots are $\boxed{2}$ and $\boxed{3}$.", "2, 3"),
        (r"\boxed{2}, \boxed{3}", "2, 3"),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
        (r"\(\boxed{2}\) or \(\boxed{3}\)", "2, 3"),
        (r"\boxed{\boxed{3}, \boxed{4}}", "3, 4"),
        (r"\boxed{5}, \boxed{5}", "5"),
        (r"\boxed{2} so \boxed{3}", "3"),
        (r"\boxed{2}. And \boxed{3}", "3"),
        ("\\boxed{2},\n\\boxed{3}", "3"),  # another line is another step
        (r"\boxed{2} \boxed{3}", "3"),
        (r"x = \boxed{2}, y = \boxed{3}", "3"),
        (r"\boxed{4}, no: \boxed{5}", "5"),
        (r"\boxed{\frac{1}{3}} \approx \boxed{0.333}", r"\frac{1}{3}"),
        (r"$\boxed{\sqrt{2}}$, approximately $\boxed{1.41}$", r"\sqrt{2}"),
        (r"\boxed{\pi} \approx \boxed{x}", "x"),  # not an approximation
        (r"\boxed{2} \approx \boxed{3}", "3"),  # a whole number approximates nothing
        (r"\boxed{3} \text{ and } \boxed{4}", "3, 4"),
    ],
)
def test_boxes_that_stand_together(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think> \boxed{4} </think> \boxed{5}", "5"),
        (r"<think> \boxed{4} </think> Some other text.", None),
        (r"<think> \boxed{4}", None),
        (r"\boxed{4} </think> so \boxed{5}", "5"),  # the prompt opened it
        (r"<thinking>\boxed{4}</thinking>\boxed{5}", "5"),
        (r"I think \boxed{4}", "4"),
    ],
)
def test_what_is_thought_is_no_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer
    assert extract_answer(text, thinking_counts=True) in ("4", "5")


@pytest.mark.parametrize(
    ("answer_format", "text", "answer"),
    [
        ("tags", "so <answer> 5 </answer>", "5"),
        ("tags", "<answer>4</answer> no <answer>5</answer>", "5"),
        ("tags", r"<answer>It is \boxed{5}.</answer>", "5"),
        ("tags", r"\boxed{5}", None),
        ("tags", "<answer></answer>", None),
        ("phrase", "The answer is 5.", "5"),
        ("phrase", "The answer is $5$ because 2+3=5.", "5"),
        ("phrase", "Therefore, the final answer is: **12.5**.", "12.5"),
        ("phrase", "The answer is (B).", "(B)"),
        ("phrase", "Answer: 5 apples", "5 apples"),
        ("phrase", "#### 18", "18"),
        ("phrase", "答案是5", "5"),
        ("phrase", "The answer is 4. No, the answer is 5.", "5"),
        ("phrase", r"The answer is \boxed{5}.", "5"),
        ("phrase", "The answer is $2$ and $3$.", "$2$ and $3$"),
        ("phrase", r"The answer to the question is \frac{1}{2}", r"\frac{1}{2}"),
        ("phrase", "The answer is 5, since 2+3=5", "5"),
        ("phrase", "We get 5.", None),
        ("auto", r"The answer is 4, so \boxed{5}", "5"),
        ("auto", "<answer>5</answer>", "5"),
        ("auto", "The answer is 5", "5"),
        ("auto", "We get 5.", None),
        ("boxed", "<answer>5</answer>", None),
    ],
)
def test_other_formats(answer_format: AnswerFormat, text: str, answer: str | None) -> None:
    assert extract_answer(text, answer_format) == answer


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="boxed, tags, phrase, auto"):
        extract_answer("5", "box")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer_format", "good", "bad"),
    [
        (
            "boxed",
            [r"so \boxed{5}.", r"$\boxed{2}$ and $\boxed{3}$"],
            [r"\boxed{5} it is", r"\boxed{4} no \boxed{5}", "5"],
        ),
        ("tags", ["so <answer>5</answer>."], ["<answer>5</answer> it is", "<answer>4</answer><answer>5</answer>", "5"]),
        ("phrase", ["so the answer is 5."], ["the answer is 5.\nOr not.", "5"]),
        ("auto", [r"\boxed{5}", "<answer>5</answer>", "The answer is 5."], ["5", r"\boxed{5} it is"]),
    ],
)
def test_follows_format(answer_format: AnswerFormat, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not follows_format(text, answer_format)] == []
    assert [text for text in bad if follows_format(text, answer_format)] == []


@given(st.text() | BALANCED, st.sampled_from(["boxed", "tags", "phrase", "auto"]))
def test_no_text_makes_an_extraction_raise(text: str, answer_format: AnswerFormat) -> None:
    found = extract_answer(f"the answer is {text}", answer_format)
    assert found is None or found.strip() == found
    assert isinstance(follows_format(text, answer_format), bool)
