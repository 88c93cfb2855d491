r"""Whether two expressions have one value: for numbers exactly or to many digits, for the rest at many points.

>>> from cepo.answers.reading import read_answer
>>> same_value(read_answer("(x+1)^2").node, read_answer("x^2+2x+1").node)
True
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from cepo.answers.exact import TooLarge, Undefined, exact_value
from cepo.answers.figures import Figure
from cepo.answers.numeric import GUARD_DIGITS, pair_values, random_value
from cepo.answers.tree import Node

__all__ = ["constant_ratio", "figure_of", "is_number", "less", "same_value"]

POINTS = 12
"""Choices of values for the symbols at which two expressions are compared."""
ENOUGH = 4
"""Of these, how many must be in the domain of both."""


def is_number(node: Node) -> bool:
    """Whether a node holds nothing unknown."""
    return not node.symbols()


def figure_of(node: Node) -> Figure | None:
    """The figure of a node that is rational; with its rounding where it is a decimal as it was written.

    None where it is not rational, has no value, or is too large to be found exactly.
    """
    negative = node.op == "neg"
    leaf = node.args[0] if negative else node
    if leaf.op == "figure" and leaf.figure is not None:
        return leaf.figure._replace(value=-leaf.figure.value) if negative else leaf.figure
    try:
        value = exact_value(node) if is_number(node) else None
    except (TooLarge, Undefined):
        return None
    return None if value is None else Figure(value)


def same_value(ours: Node, gold: Node) -> bool:
    """Whether `ours` is the value of `gold`, or rounds to it where gold is a decimal that may be rounded.

    False where either has no value, and where the numbers are too large to tell.
    """
    if ours == gold:
        return True
    try:
        if "ratio" in (ours.op, gold.op):
            return _same_ratio(ours, gold)
        if is_number(ours) and is_number(gold):
            return _same_number(ours, gold)
        return _same_function(ours, gold)
    except (TooLarge, Undefined):
        return False


def _same_ratio(ours: Node, gold: Node) -> bool:
    """3:4 is 6:8 and 3/4; of three terms all must be in proportion."""
    if len(ours.args) == 2 and len(gold.args) == 2 and {ours.op, gold.op} <= {"ratio", "div"}:
        return _same_function(Node("div", ours.args), Node("div", gold.args))
    if ours.op == gold.op and len(ours.args) == len(gold.args):
        pairs = zip(ours.args[1:], gold.args[1:], strict=True)
        return all(_same_function(Node("div", (a, ours.args[0])), Node("div", (b, gold.args[0]))) for a, b in pairs)
    return len(ours.args) == len(gold.args) == 2 and _same_function(ours, gold)


def _same_number(ours: Node, gold: Node) -> bool:
    mine, theirs = figure_of(ours), figure_of(gold)
    if mine is not None and theirs is not None:
        return mine.answers(theirs)
    a, b, tolerance = pair_values(ours, gold, {})
    if theirs is not None:
        tolerance += b.context.mpf(theirs.rounding.numerator) / theirs.rounding.denominator
    return bool(abs(a - b) <= tolerance)


def _same_function(ours: Node, gold: Node) -> bool:
    """Equal at every point where both are real; where there are too few of these, as complex numbers."""
    real = compared = equal = 0
    for salt, values in _points(ours, gold):
        try:
            a, b, tolerance = pair_values(ours, gold, values, salt)
        except Undefined:
            continue
        close = bool(abs(a - b) <= tolerance)
        compared, equal = compared + 1, equal + close
        if _is_real(a) and _is_real(b):
            real += 1
            if not close:
                return False
    return real >= ENOUGH or (compared >= ENOUGH and equal == compared)


def _is_real(value: Any) -> bool:
    return not value.context.im(value)


def _points(*nodes: Node) -> Iterator[tuple[int, dict[str, Fraction]]]:
    """Values for all symbols, of both signs; whole numbers for n in (-1)^n."""
    names = sorted({name for node in nodes for name in node.symbols()})
    whole = {name for node in nodes for name in _whole_symbols(node)}
    for salt in range(POINTS):
        values = {name: random_value(name, salt) for name in names}
        if salt % 2:
            values = {name: value * _sign(name, salt) for name, value in values.items()}
        yield (
            salt,
            {
                name: Fraction(int(abs(value)) + salt % 3 + 1) if name in whole else value
                for name, value in values.items()
            },
        )


def _sign(name: str, salt: int) -> int:
    return -1 if random_value(name, -salt).numerator % 2 else 1


def _whole_symbols(node: Node) -> set[str]:
    """Symbols in exponents of negative numbers, which have a real value for whole numbers only."""
    found: set[str] = set()
    for part in node.walk():
        if part.op == "pow" and is_number(part.args[0]):
            try:
                base = exact_value(part.args[0])
            except (TooLarge, Undefined):
                continue
            if base is not None and base < 0:
                found |= part.args[1].symbols()
    return found


def constant_ratio(ours: Node, gold: Node) -> int | None:
    """The sign of the constant c with ours = c times gold at every point; None where there is none.

    Two equations, or two inequalities, say the same where their differences of sides have such a ratio.
    """
    ratios: list[Any] = []
    seen: list[Any] = []
    for salt, values in _points(ours, gold):
        try:
            a, b, tolerance = pair_values(ours, gold, values, salt)
        except (Undefined, TooLarge):
            continue
        if abs(b) <= tolerance or abs(a) <= tolerance:
            return None
        ratios.append(a / b)
        seen.append(a)
        if abs(ratios[-1] - ratios[0]) > abs(ratios[0]) * a.context.mpf(10) ** (-GUARD_DIGITS // 2):
            return None
    if len(ratios) < ENOUGH or not _is_real(ratios[0]) or _all_equal(seen):
        return None
    return 1 if ratios[0].context.re(ratios[0]) > 0 else -1


def _all_equal(values: list[Any]) -> bool:
    """Whether nothing depends on the symbols after all, as in x + 1 - x."""
    size = abs(values[0]) * values[0].context.mpf(10) ** (-GUARD_DIGITS // 2)
    return all(abs(value - values[0]) <= size for value in values)


def less(ours: Node, other: Node) -> bool | None:
    """Whether one number is below another; None where that cannot be told."""
    try:
        a, b, tolerance = pair_values(ours, other, {})
    except (TooLarge, Undefined, KeyError):
        return None
    return bool(a < b and b - a > tolerance) if _is_real(a) and _is_real(b) else None
