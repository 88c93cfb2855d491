r"""The grader: what counts as the answer, and what counts as right.

The tables are the contract: FAST rows must be decided without math-verify, ALGEBRA rows need it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cepo.answers import (
    MAX_ANSWER_CHARS,
    grade,
    rules,
    same_answer,
    why_not_gradable,
)
from cepo.answers import verdict as answers

# candidate, gold
FAST_EQUAL = [
    ("5", "5"),
    (" 5 ", "5"),
    ("05", "5"),
    ("+5", "5"),
    ("-0", "0"),
    ("−5", "-5"),  # a typographic minus sign
    ("5.", "5"),
    ("5.0", "5"),
    ("$5$", "5"),
    (r"\(5\)", "5"),
    (r"\[5\]", "5"),
    (r"\$5", "5"),
    ("**5**", "5"),
    (r"\text{5}", "5"),
    (r"\mathbf{5}", "5"),
    ("= 5", "5"),
    (r"\approx 5", "5"),
    ("5,000", "5000"),
    ("5{,}000", "5000"),
    (r"5\,000", "5000"),
    ("1,234,567.5", "1234567.5"),
    ("3e8", "300000000"),
    (".5", "0.5"),
    ("0.50", "0.5"),
    ("0.5", "1/2"),
    ("1/2", "0.5"),
    (r"\frac{1}{2}", "0.5"),
    (r"\dfrac{1}{2}", r"\tfrac12"),
    (r"\frac12", "0.5"),
    (r"\frac1{2}", "1/2"),
    (r"\frac{1}2", "1/2"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    (r"1\frac{1}{2}", "1.5"),
    ("1 1/2", "3/2"),
    (r"\left(1, 2\right)", "(1,2)"),
    (r"30^\circ", "30"),
    (r"30^{\circ}", "30°"),
    (r"30{}^\circ", "30"),
    (r"30\degree", "30 degrees"),
    ("30 deg", "30"),
    (r"30^\circ", r"30\text{ degrees}"),
    ("5 cm", "5"),
    ("5", "5 cm"),
    (r"5\text{ cm}", "5 centimeters"),
    (r"5\,\mathrm{m}", "5"),
    ("7.5 inches", r"7\frac{1}{2} \text{ in}"),
    (r"25\text{ cm}^2", "25 square centimeters"),
    ("25 cm²", "25 sq cm"),
    ("25 square units", "25 cm^2"),
    ("10 ft", "10 feet"),
    (r"50\%", "50"),
    ("50 percent", "50%"),
    ("x=5", "5"),
    ("5", "x = 5"),
    ("x = 3 + 2 = 5", "5"),
    (r"m\angle A = 30^\circ", "30"),
    (r"x \approx 9.42", "9.42"),
    (r"3\pi \approx 9.42", r"3\pi"),
    ("9.4248", "9.42"),  # a gold decimal of three digits may be rounded
    (r"\frac{22}{7}", "3.14"),
    ("12 pi", r"12\pi"),
    ("12π cm", r"12\pi"),
    ("B", "B"),
    ("(B)", "B"),
    ("B.", "B"),
    ("b)", "B"),
    (r"\text{B}", "B"),
    (r"\textbf{(B)}\ 30", "B"),
    ("B. 30", "B"),
    ("B: 30", "B"),
    ("Option B", "B"),
    ("b", "(B)"),
    ("isosceles", "Isosceles"),
    ("Right  triangle.", "right triangle"),
    (r"\text{Yes}", "yes"),
    ("∠ABC", r"\angle ABC"),
    (r"\varnothing", "∅"),
]
FAST_DIFFERENT = [
    ("", "5"),
    ("$$", "5"),
    ("5", ""),
    ("6", "5"),
    ("-5", "5"),
    ("1 1/2", "11/2"),
    ("0.333333", r"\frac13"),  # an exact gold answer wants an exact one
    ("0.52", "0.5"),  # a short decimal is exact
    ("0.754", "0.75"),
    ("9.43", "9.42"),
    ("9.4", "9.42"),
    ("5,00", "500"),
    ("50%", "0.5"),
    ("5 cm", "5 m"),
    ("5 cm", "5 mm"),
    ("25 cm", "25 cm^2"),
    ("25 units", "25 cm^2"),
    ("30°", "30 cm"),
    ("x=6", "5"),
    ("x^2=9", "9"),
    ("x=3 or x=-3", "-3"),
    ("A", "B"),
    ("A", "5"),
    ("5", "A"),
    ("(A) or (B)", "A"),
    ("(A), (B)", "A"),
    ("(A)(B)", "A"),
    ("A, B", "A"),
    ("Because", "B"),
    ("on", "no"),
    ("no", "yes"),
    ("acute triangle", "right triangle"),
    (r"\angle BAC", r"\angle ABC"),
    ("A", "A'"),
    ("5, 5", "5"),
    ("1,2,3", "2"),
    ("undefined", "5"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", r"\{1,2\}"),
]
ALGEBRA_EQUAL = [
    ("3*pi", r"3\pi"),
    (r"3\pi", "9.42"),
    (r"\sqrt2", "1.414"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"2\sqrt2", r"\sqrt 8"),
    ("√8", "2√2"),
    ("√(8)", r"2\sqrt{2}"),
    ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}"),
    (r"5\sqrt{3} \text{ cm}", r"\sqrt{75}"),
    (r"\sin 30^\circ", r"\frac12"),
    (r"\frac{\pi}{2}", r"90^\circ"),
    ("2^{10}", "1024"),
    ("2**10", "1024"),
    (r"3\times10^8", "300000000"),
    ("(x+1)^2", "x^2+2x+1"),
    ("-y + x", "x - y"),
    ("2x+1", "y=2x+1"),
    ("2x+1=y", "y=2x+1"),
    ("f(x)=x+x", "2x"),
    ("(0.5, 3)", r"\left(\frac{1}{2}, 3\right)"),
    ("(30°, 60°)", "(30, 60)"),
    ("2,1", "1,2"),
    (r"\{2,1\}", r"\{1,2\}"),
    (r"3,-3", r"\pm 3"),
    ("y=2,x=1", "x=1, y=2"),
    (r"x \le 3", r"(-\infty, 3]"),
    (r"(-\infty, 3]", "x <= 3"),
    (r"(2,\infty) \cup (-\infty,1)", r"(-\infty,1)\cup(2,\infty)"),
    ("6:8", "3:4"),
    ("3i+4", "4+3i"),
]
ALGEBRA_DIFFERENT = [
    ("9.42", r"3\pi"),
    ("3.14159265358979", r"\pi"),
    (r"3\sqrt{2}", r"2\sqrt{3}"),
    (r"\sqrt{3}", "1.414"),
    ("5m", "5"),
    ("1/0", "0"),
    ("2y", "2x"),
    ("x=5", "y=5 + 0"),
    ("(2,1)", "(1,2)"),
    ("(3,2,1)", "(1,2,3)"),
    ("[0,1)", "(0,1]"),
    (r"\{1,2,3\}", r"\{1,2\}"),
    ("x^2+1", "x^2-1"),
    ("x < 3", r"x \le 3"),
    (r"4\boxed{5}\text{cm}", "5"),  # a box inside an answer is not a second answer
]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    rules.found_by_rules.cache_clear()
    answers._remembered.clear()


@pytest.fixture
def no_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str, candidate: str, gold: str, *_: float) -> bool:
        raise AssertionError(f"{candidate!r} against {gold!r} went to math-verify")

    monkeypatch.setattr(answers.pool, "ask", refuse)


@pytest.mark.usefixtures("no_algebra")
@pytest.mark.parametrize(("candidate", "gold"), FAST_EQUAL)
def test_equal_without_algebra(candidate: str, gold: str) -> None:
    assert same_answer(candidate, gold)


@pytest.mark.usefixtures("no_algebra")
@pytest.mark.parametrize(("candidate", "gold"), FAST_DIFFERENT)
def test_different_without_algebra(candidate: str, gold: str) -> None:
    assert not same_answer(candidate, gold)


@pytest.mark.parametrize(("candidate", "gold"), ALGEBRA_EQUAL)
def test_equal_by_algebra(candidate: str, gold: str) -> None:
    assert same_answer(candidate, gold)


@pytest.mark.parametrize(("candidate", "gold"), ALGEBRA_DIFFERENT)
def test_different_by_algebra(candidate: str, gold: str) -> None:
    assert not same_answer(candidate, gold)


def test_a_completion_is_graded_on_its_last_box() -> None:
    assert grade(r"\boxed{4}, no: \boxed{5}", "5")
    assert not grade(r"\boxed{5}, no: \boxed{4}", "5")
    assert not grade("5", "5")
    assert not same_answer(None, "5")


def test_an_answer_too_long_is_wrong_without_a_parse(no_algebra: None) -> None:
    longest = "1" * MAX_ANSWER_CHARS
    assert same_answer(longest, longest)
    assert not same_answer(longest + "1", longest + "1")
    assert not same_answer("+".join(["x"] * MAX_ANSWER_CHARS), "x")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "missing"),
        ("", "empty"),
        ("  \n", "empty"),
        (True, "bool"),
        (["5"], "list"),
        (b"5", "bytes"),
        (float("nan"), "finite"),
        (float("-inf"), "finite"),
        ("?", "no letter"),
        ("$$", "no letter"),
        (r"\frac{1}{2", "braces"),
        ("5}", "braces"),
        (r"\boxed{5}", "holds a box"),
        ("1" * (MAX_ANSWER_CHARS + 1), "characters"),
    ],
)
def test_why_an_answer_is_not_gradable(answer: object, reason: str) -> None:
    assert reason in (why_not_gradable(answer) or "gradable")


@pytest.mark.parametrize("answer", ["5", 5, 0, -2.5, np.float64(9.42), np.int64(3), "B", "∞", "x=5", r"\{1,2\}", "no"])
def test_gradable_answers(answer: object) -> None:
    assert why_not_gradable(answer) is None
    assert grade(rf"\boxed{{{answer}}}", str(answer))


# --- properties -------------------------------------------------------------------------------------------

PIECES = [
    *"0123456789xyABπ√°%.,;:=+-*/^(){}[]|!~$&'\" \n",
    "\\",
    r"\frac",
    r"\sqrt",
    r"\boxed{",
    r"\text{",
    r"\pi",
]
LATEX = st.lists(st.sampled_from([*PIECES, "cm", "and", r"\left", r"\circ", "^2", "**", "\\\\"]), max_size=25).map(
    "".join
)


@given(st.text() | LATEX, st.sampled_from(["5", r"\frac{1}{2}", "B", "no", "30 cm", "x=5"]))
@example("\ud800", "5")
@example("\x00", "5")
def test_no_text_makes_the_grader_raise(text: str, gold: str) -> None:
    assert isinstance(grade(text, gold), bool)
    assert isinstance(same_answer(text, gold, timeout_s=1.0), bool)
    assert isinstance(same_answer(gold, text, timeout_s=1.0), bool)
    assert why_not_gradable(text) is None or isinstance(why_not_gradable(text), str)


@given(st.text(max_size=30) | LATEX)
def test_a_gradable_answer_scores_against_itself(gold: str) -> None:
    if why_not_gradable(gold) is None:
        assert grade(rf"thus \boxed{{{gold}}}", gold)


@given(st.integers(-(10**30), 10**30), st.integers(-3, 3))
def test_integers_are_equal_as_integers(number: int, offset: int) -> None:
    there, back = (
        same_answer(str(number), str(number + offset)),
        same_answer(str(number + offset), str(number)),
    )
    assert there == back == (offset == 0)
    assert same_answer(f"{number:,}", f"{number}")


@given(st.integers(-50, 50), st.integers(1, 50), st.integers(-50, 50), st.integers(1, 50))
def test_fractions_are_equal_as_rationals(a: int, b: int, c: int, d: int) -> None:
    assert same_answer(rf"\frac{{{a}}}{{{b}}}", f"{c}/{d}") == (Fraction(a, b) == Fraction(c, d))


@given(st.integers(100, 99999), st.integers(-99, 99))
def test_a_gold_decimal_accepts_exactly_what_rounds_to_it(cents: int, off: int) -> None:
    gold, candidate = f"{cents / 100:.2f}", f"{cents / 100 + off / 10000:.4f}"
    exact = Fraction(gold).denominator == 1  # 27.00 is a whole number that was printed as a float
    assert same_answer(candidate, gold) == (
        abs(Fraction(candidate) - Fraction(gold)) <= (0 if exact else Fraction(1, 200))
    )
