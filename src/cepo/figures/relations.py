"""The relations of figure problems: what each panel says, and what it is taken for by who confuses it.

A panel shows one relation. Of the angle before it, v, and of the angle b that some panels give, follows the panel's
own angle; all are multiples of ten degrees, and are counted modulo 360 where a wrong path leaves the figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

__all__ = ["FULL", "GIVEN", "KINDS", "UNIT", "Equation", "Form", "Kind", "Step", "fitting"]

FULL, UNIT = 360, 10
GIVEN = tuple(range(10, 90, UNIT))
"""Angles that a panel can give, degrees."""

Sign = Literal["+", "-", "*"]


@dataclass(frozen=True, slots=True)
class Equation:
    """`left sign right = result`, degrees modulo 360."""

    left: int
    sign: Sign
    right: int

    @property
    def uncounted(self) -> int:
        """The result before it is counted modulo 360."""
        return {"+": self.left + self.right, "-": self.left - self.right, "*": self.left * self.right}[self.sign]

    @property
    def result(self) -> int:
        return self.uncounted % FULL


@dataclass(frozen=True, slots=True)
class Form:
    """How an angle follows: `number sign v` with a number of its own, else `v sign b`.

    `after_sum`: v and b are added up first, and their sum stands for v.
    """

    sign: Sign
    number: int | None = None
    after_sum: bool = False

    def equations(self, value: int, given: int) -> tuple[Equation, ...]:
        """What is calculated; the last one's result is the panel's angle."""
        if self.number is None:
            return (Equation(value, self.sign, given),)
        if not self.after_sum:
            return (Equation(self.number, self.sign, value),)
        total = Equation(value, "+", given)
        return total, Equation(self.number, self.sign, total.result)


@dataclass(frozen=True, slots=True)
class Kind:
    """A relation: its right form, and those that it is confused with. `gives`: its panel gives an angle b."""

    right: Form
    confused: tuple[Form, ...]
    gives: bool = False
    least: int = 0

    def fits(self, value: int, given: int) -> bool:
        """Whether a figure can show it: angles between 0 and 180 degrees, around a point 360."""
        most = FULL if self.right.number == FULL else FULL // 2
        return value >= self.least and all(0 < e.uncounted < most for e in self.right.equations(value, given))


def _rest(*numbers: int, after_sum: bool = False) -> tuple[Form, tuple[Form, ...]]:
    """What is left of the first number, which is taken for one of the others."""
    right, *confused = (Form("-", number, after_sum) for number in numbers)
    return right, tuple(confused)


KINDS: dict[str, Kind] = {
    "line": Kind(*_rest(180, 360, 90)),
    "corner": Kind(*_rest(90, 180, 360)),
    "turn": Kind(*_rest(360, 180, 90), least=120),
    "circle": Kind(Form("*", 2), (Form("*", 1),)),
    "triangle": Kind(*_rest(180, 360, 90, after_sum=True), gives=True),
    "whole": Kind(Form("+"), (Form("-"),), gives=True),
    "part": Kind(Form("-"), (Form("+"),), gives=True),
}
"""Name -> relation: two angles on a straight line (180, taken for 360 or 90), in a right corner (90), around a point
(360); the angle at a circle's centre (twice the one on the circle, taken for equal); the third angle of a triangle;
two angles together (sum, taken for difference), and what one leaves of another (difference for sum)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A panel: its relation, and the angle that it gives, degrees; 0 where it gives none."""

    kind: str
    given: int = 0

    def equations(self, value: int, form: Form | None = None) -> tuple[Equation, ...]:
        """What is calculated from the angle before, rightly or by another form."""
        return (form or KINDS[self.kind].right).equations(value, self.given)


@cache
def fitting(value: int) -> tuple[tuple[Step, ...], ...]:
    """The panels that can follow an angle, for each relation that can."""
    by_kind = []
    for name, kind in KINDS.items():
        steps = (Step(name, given) for given in (GIVEN if kind.gives else (0,)) if kind.fits(value, given))
        by_kind.append(tuple(steps))
    return tuple(filter(None, by_kind))
