"""Labels of solutions to figures, and why each went wrong first."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.answers import extract_answer
from cepo.chain.solver import label_text, label_tokens
from cepo.figures.policy import Confusions
from cepo.figures.problems import Figure, generate
from cepo.figures.wording import question, solution

FIGURE = Figure.parse("40>line>triangle:30")  # 140, 10
RIGHT = "first at A=40. in B a line, it is 180-40=140. now C a triangle with 30, 140+30=170, 180-170=10. \\boxed{10}"


def labelled(text: str) -> list[tuple[str, str]]:
    return [(text[s.start : s.end], s.label) for s in label_text(FIGURE, text) if s.label != "filler"]


def test_a_right_solution_decides_by_what_it_reads_chooses_and_finds() -> None:
    assert labelled(RIGHT) == [
        ("40", "decisive"), ("line", "decisive"), ("180", "decisive"), ("140", "decisive"), ("triangle", "decisive"),
        ("30", "decisive"), ("170", "decisive"), ("180", "decisive"), ("10", "decisive"), ("10", "answer"),
    ]  # fmt: skip
    assert FIGURE.first_error(RIGHT) is None


@pytest.mark.parametrize(
    ("right", "wrong", "cause", "said"),
    [
        ("180-40=140", "360-40=320", "confused", "360"),
        ("180-170=10", "90-170=280", "confused", "90"),
        ("180-40=140", "180-40=150", "slip", "150"),
        ("180-40=140", "180-50=130", "slip", "50"),
        ("180-40=140", "120-40=80", "slip", "120"),
        ("with 30", "with 20", "misread", "20"),
        ("140+30=170", "140+20=160", "slip", "20"),
        ("a line", "a corner", "misread", "corner"),
        ("A=40", "A=70", "misread", "70"),
    ],
)
def test_causes_of_the_first_error(right: str, wrong: str, cause: str, said: str) -> None:
    text = RIGHT.replace(right, wrong)
    assert FIGURE.first_error(text) == cause
    labels = labelled(text)
    assert [piece for piece, label in labels if label == "first_wrong"] == [said]
    at = [label for _, label in labels].index("first_wrong")
    assert {label for _, label in labels[:at]} <= {"decisive"}
    assert {label for _, label in labels[at + 1 : -1]} <= {"consequence"}


def test_a_sum_taken_for_a_difference_is_told_by_its_sign() -> None:
    figure = Figure.parse("40>whole:30")
    text = "A=40. B a whole with 30: 40-30=10. \\boxed{10}"
    assert figure.first_error(text) == "confused"
    assert [text[s.start : s.end] for s in label_text(figure, text) if s.label == "first_wrong"] == ["-"]


def test_what_goes_on_stops_early_or_is_boxed_wrongly() -> None:
    assert FIGURE.first_error(RIGHT.replace(" \\boxed", " D a line is 180-10=170. \\boxed")) == "slip"
    assert labelled(RIGHT.replace("{10}", "{20}"))[-1] == ("20", "first_wrong")
    assert labelled("\\boxed{10}") == [("10", "answer")]
    assert labelled("") == []


def naive(figure: Figure, text: str) -> str | None:
    """The first number before the box that no right solution has there, by reading the equations one by one."""
    value, known = figure.start, None
    before = text.split("\\boxed")[0]
    if int(re.findall(r"A=(\d+)", before)[0]) != value:
        return re.findall(r"A=(\d+)", before)[0]
    parts = re.split(r" [B-G] a ", before)[1:]
    for step, part in zip(figure.steps, parts, strict=True):
        numbers = [equation for equation in re.findall(r"(\d+)([-+*])(\d+)=(\d+)", part)]
        rights = [(str(e.left), e.sign, str(e.right), str(e.result)) for e in step.equations(value)]
        for equation, right in zip(numbers, rights, strict=True):
            known = next((said for said, meant in zip(equation, right, strict=True) if said != meant), None)
            if known:
                return known
        value = int(rights[-1][-1])
    return None


def test_labels_of_confused_solutions_are_the_twins() -> None:
    rng, policy, causes = Random(5), Confusions(share=0.7), Counter()
    for figure in generate("train", 200):
        work = policy.work(figure, rng)
        text = solution(figure, work, rng)
        spans = label_text(figure, text)
        assert "".join(text[s.start : s.end] for s in spans) == text
        wrong = [text[s.start : s.end] for s in spans if s.label == "first_wrong"]
        assert (wrong[0] if wrong else None) == naive(figure, text)
        causes[figure.first_error(text)] += 1
        offsets = [match.span() for match in re.finditer(r"\\boxed\{|[A-Za-z]+ ?|\d+|[^\w\s] ?|\s|.", text)]
        assert label_tokens(figure, text, offsets).count("first_wrong") == len(wrong)
        assert 45 <= len(offsets) + 1 <= 170
    assert set(causes) == {"confused", None}


@given(st.text(alphabet="0123456789 ,.+-*=\\boxed{}a line", max_size=60))
def test_spans_partition_any_text(text: str) -> None:
    spans = label_text(FIGURE, text)
    assert "".join(text[s.start : s.end] for s in spans) == text
    assert [s.label for s in spans].count("first_wrong") <= 1


def test_a_solution_is_worded_in_many_ways_and_boxes_its_angle() -> None:
    rng = Random(0)
    texts = {solution(FIGURE, FIGURE.work(), rng) for _ in range(50)}
    assert len(texts) == 50
    assert {extract_answer(text) for text in texts} == {"10"}
    assert question(FIGURE).endswith("Find angle C in degrees.")
