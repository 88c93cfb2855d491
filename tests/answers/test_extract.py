r"""Where a completion's answer stands: the last well-formed `\boxed{...}`, found in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cepo.answers import boxed_spans, extract_answer


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


def test_a_box_is_found_at_the_end_of_megabytes() -> None:
    assert extract_answer("{" * 3_000_000 + r" \boxed{5}") == "5"
