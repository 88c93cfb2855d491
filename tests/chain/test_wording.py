"""Chains in words: what the solver reads back is what was written, and filler words are drawn evenly."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from random import Random

import pytest

from cepo.answers import extract_answer
from cepo.chain.problems import Chain, chains
from cepo.chain.wording import SYNONYMS, question, solution


def test_a_question_says_the_whole_chain() -> None:
    assert question(Chain.parse("7+3-5")) == "Count modulo ten from 7, then add 3, then subtract 5."
    for chain in islice(chains("train", 0, 6), 20):
        signs = {"add": "+", "subtract": "-"}
        said = re.findall(r"(add|subtract) (\d)", question(chain))
        assert [(signs[verb], int(digit)) for verb, digit in said] == [
            (step.sign, step.operand) for step in chain.operations
        ]


@pytest.mark.parametrize("fillers", SYNONYMS)
def test_a_solution_has_its_values_among_fillers(fillers: int) -> None:
    text = solution([0, 5, 5], fillers, Random(1))
    assert re.findall(r"\d", text) == ["0", "5", "5", "5"]
    assert extract_answer(text) == "5"
    pieces = text.removesuffix(" \\boxed{5}").split()
    assert len(pieces) == 3 * fillers  # the mark is one piece with its value


def test_synonyms_are_drawn_evenly() -> None:
    """Entropy log 4 each: a chi-square of 3 degrees of freedom, at p = 0.001 below 16.3."""
    rng = Random(0)
    drawn = Counter(word for _ in range(500) for word in re.findall(r"[a-z]+(?= )", solution([1, 2], 3, rng)))
    for synonyms in SYNONYMS[3]:
        counts = [drawn[word] for word in synonyms]
        assert sum(counts) == 1000
        assert sum((count - 250) ** 2 / 250 for count in counts) < 16.3
