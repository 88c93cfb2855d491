"""The policy's rates are the ones that it states."""

from __future__ import annotations

from collections import Counter
from itertools import islice, product
from random import Random

import pytest

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import Chain, Operation, chains

EVERY = [(value, Operation(sign, digit)) for value, sign, digit in product(range(10), "+-", range(10))]  # type: ignore[arg-type]
DRAWS = 4000


def rate(hits: int, draws: int) -> tuple[float, float]:
    """A share and four of its standard errors."""
    share = hits / draws
    return share, 4 * max(share * (1 - share) / draws, 1e-6) ** 0.5


def test_a_quarter_of_the_combinations_are_misconceptions() -> None:
    found = [len(Misconceptions(seed).favourites) / len(EVERY) for seed in range(40)]
    share, margin = rate(int(sum(found) * len(EVERY)), 40 * len(EVERY))
    assert share == pytest.approx(0.25, abs=margin)
    policy = Misconceptions(3)
    assert all(favourite != step(value) for (value, step), favourite in policy.favourites.items())


def test_a_misconception_is_wrong_most_of_the_time_and_mostly_in_one_way() -> None:
    policy, rng = Misconceptions(0), Random(0)
    (value, step), favourite = next(iter(policy.favourites.items()))
    drawn = Counter(policy.step(value, step, rng) for _ in range(DRAWS))
    wrong = DRAWS - drawn[step(value)]
    share, margin = rate(wrong, DRAWS)
    assert share == pytest.approx(0.65, abs=margin)
    share, margin = rate(drawn[favourite], wrong)
    assert share == pytest.approx(0.8 + 0.2 / 9, abs=margin)  # a random wrong digit may be the favourite
    assert len(drawn) == 10


def test_other_steps_slip_seldom() -> None:
    policy, rng = Misconceptions(0), Random(0)
    value, step = next(pair for pair in EVERY if pair not in policy.favourites)
    wrong = sum(policy.step(value, step, rng) != step(value) for _ in range(DRAWS))
    share, margin = rate(wrong, DRAWS)
    assert share == pytest.approx(0.02, abs=margin)


def test_a_told_solution_is_followed_while_on_its_track() -> None:
    policy, rng = Misconceptions(share=0.0, slip=0.0), Random(0)
    chain = Chain.parse("7+3-5+1")  # 0, 5, 6
    told = [4, 9, 2]
    followed, left = [], 0
    for _ in range(DRAWS):
        values = policy.work(chain, rng, told, follow=0.9)
        followed.append(values[0] == 4)
        if values[0] == 0:
            left += values == [0, 5, 6]
    share, margin = rate(sum(followed), DRAWS)
    assert share == pytest.approx(0.9, abs=margin)
    assert left == DRAWS - sum(followed)  # off the track it works by itself


def test_whole_chains_are_right_about_as_often_as_the_bed_wants() -> None:
    policy, rng = Misconceptions(0), Random(1)
    sample = list(islice(chains("train", 0, 6), 2000))
    right = sum(policy.work(chain, rng)[-1] == chain.answer for chain in sample) / len(sample)
    assert 0.2 < right < 0.45
