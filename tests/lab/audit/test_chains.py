"""Chains in the audit: the solver's labels, and wrong solutions that are wrong."""

from __future__ import annotations

from random import Random

import pytest

from cepo.answers import grade
from cepo.chain.problems import Chain
from cepo.data.datasets import DataSpec
from cepo.lab.audit.chains import label_steps, wrong_solutions
from cepo.lab.audit.problems import load_problems

CHAIN = Chain.parse("7+3-5")


def test_values_and_the_box_decide() -> None:
    text = "now gives 0, so makes 6. \\boxed{6}"
    labels = label_steps(CHAIN, text)
    assert labels is not None
    assert "".join(text[span.start : span.end] for span in labels.spans) == text
    assert [text[span.start : span.end] for span in labels.spans if span.decisive] == ["0", "6", "6"]
    assert labels.wrong_from == text.index("6")
    assert label_steps(CHAIN, "nothing at all") is None


@pytest.mark.parametrize("data", ["chain:steps=3", "figures"])
def test_problems_carry_right_and_wrong_solutions(data: str) -> None:
    for problem in load_problems(DataSpec(data, split="validation", limit=4), wrong=2):
        right, *wrong = problem.worked
        assert right.text == problem.solution
        assert right.labels.wrong_from is None
        assert len(wrong) == 2
        for solution in wrong:
            assert not grade(solution.text, problem.gold)
            assert solution.labels.wrong_from is not None
            assert problem.label is not None
            assert problem.label(solution.text) == solution.labels


def test_wrong_figure_solutions_go_wrong_by_a_confused_relation() -> None:
    for problem in load_problems(DataSpec("figures", split="validation", limit=4), wrong=2):
        for solution in problem.worked[1:]:
            piece = next(span for span in solution.labels.spans if span.start == solution.labels.wrong_from)
            assert solution.text[piece.start : piece.end] in {"360", "180", "90", "1", "+", "-"}


def test_wrong_solutions_have_their_fillers() -> None:
    (text,) = wrong_solutions(CHAIN, 1, 1, Random(0))
    assert len(text.split()) == 3  # two values with their marks, and the box
