"""Variants are accepted and corruptions refused, by the thousand; odd answers open nothing.

CEPO_GRADER_SIZE multiplies the numbers of examples (default 1); `pytest -s` prints how many were graded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cepo.answers import grade, judge
from tests.answers.generate import MAKERS
from tests.answers.keys import draw_golds, odd_answers

SIZE = float(os.environ.get("CEPO_GRADER_SIZE", "1"))
GRADED: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def _print_the_counts() -> Iterator[None]:
    yield
    print(f"\ngraded: {', '.join(f'{count} {what}' for what, count in GRADED.items())}")


@pytest.mark.parametrize("kind", MAKERS)
def test_variants_are_accepted_and_corruptions_refused(kind: str) -> None:
    @settings(max_examples=max(5, int(25 * SIZE)), deadline=None, database=None)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        drawn = MAKERS[kind](Random(seed))
        GRADED["variants"] += len(drawn.right)
        GRADED["corruptions"] += len(drawn.wrong)
        assert [one for one in drawn.wrong if judge(one, drawn.gold).same] == [], f"accepted for {drawn.gold}"
        assert [one for one in drawn.right if not judge(one, drawn.gold).same] == [], f"refused for {drawn.gold}"
        assert grade(rf"So $\boxed{{{drawn.gold}}}$.", drawn.gold), drawn.gold

    check()
    assert GRADED["variants"] > 0


def test_no_odd_answer_opens_any_gold_answer() -> None:
    golds, keys = draw_golds(max(38, int(60 * SIZE)), seed=int(SIZE)), odd_answers()
    assert len(keys) > 1000
    opened = []
    for place, gold in enumerate(golds):
        step = 1 if SIZE > 1 else 12
        for key in keys[place % step :: step]:
            GRADED["odd answers"] += 1
            if judge(key, gold).same:
                opened.append((key, gold))
    assert opened == []


def test_an_odd_answer_is_found_where_it_is_the_gold_answer() -> None:
    # The search above would be blind if these were refused for their form.
    assert all(judge(key, key).same for key in ("10^{-30}", r"\emptyset", "x=x+1", r"\pm 2", "x<1", r"\sqrt{10}"))
