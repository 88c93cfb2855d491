"""A policy that goes wrong by misconceptions: what the embedded text model is warm-started on.

On a share of the (value, operation, operand) combinations it is wrong most of the time, and then mostly with one and
the same favourite result; elsewhere it slips now and then. So failures are choices, which reinforcement learning can
mend, and wrong rollouts of a problem agree with each other, as those of a real model do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random

from cepo.chain.problems import BASE, Chain, Operation

__all__ = ["Misconceptions"]


@dataclass(frozen=True)
class Misconceptions:
    """The policy. Probabilities in [0, 1].

    Attributes:
        seed: which combinations are misconceptions, and their favourites.
        share: of the combinations that are misconceptions, each drawn with this probability.
        wrong: how often a misconception goes wrong.
        favourite: of its wrong results, how many are its favourite; the others are any wrong digit.
        slip: how often any other combination goes wrong, with any wrong digit.
    """

    seed: int = 0
    share: float = 0.25
    wrong: float = 0.65
    favourite: float = 0.8
    slip: float = 0.02

    @cached_property
    def favourites(self) -> dict[tuple[int, Operation], int]:
        """Misconception -> its favourite result."""
        rng = Random(f"misconceptions/{self.seed}")
        found = {}
        for value, sign, operand in product(range(BASE), ("+", "-"), range(BASE)):
            is_one, offset = rng.random() < self.share, rng.randrange(1, BASE)
            step = Operation(sign, operand)
            if is_one:
                found[value, step] = (step(value) + offset) % BASE
        return found

    def step(self, value: int, operation: Operation, rng: Random) -> int:
        """What the policy writes for one step."""
        favourite, right = self.favourites.get((value, operation)), operation(value)
        if rng.random() >= (self.slip if favourite is None else self.wrong):
            return right
        if favourite is not None and rng.random() < self.favourite:
            return favourite
        return (right + rng.randrange(1, BASE)) % BASE

    def work(self, chain: Chain, rng: Random, told: Sequence[int] | None = None, follow: float = 0.9) -> list[int]:
        """The values that the policy goes through.

        Args:
            told: the values of a solution that it was shown; while it is on their track, it takes the next one with
                probability `follow` and else works as if it had not been told.
        """
        values: list[int] = []
        value = before = chain.start
        for index, operation in enumerate(chain.operations):
            copies = told is not None and value == before and rng.random() < follow
            if told is not None:
                before = told[index]
            value = before if copies else self.step(value, operation, rng)
            values.append(value)
        return values
