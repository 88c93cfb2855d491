"""The value of a rational expression, exactly.

Whole powers, factorials and binomials are bounded by the size of the result; `TooLarge` says that a bound was met.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cepo.answers.tree import Node

__all__ = ["TooLarge", "Undefined", "exact_value"]

MAX_BITS = 100_000
"""Exact numbers may have this many bits: 2004! has 19,000."""
MAX_MAGNITUDE = 10**9
"""Bits before or behind the point of an inexact number; 10^{10^8} is within, 10^{10^{10}} is not."""
MAX_DIGITS = 2_500
"""Digits to which inexact numbers may be compared."""
MAX_GAMMA_DIGITS = 250
"""Digits to which factorials of other than whole numbers are found: at a thousand one takes seconds."""
GUARD_DIGITS = 30


class TooLarge(Exception):
    """The value, or the digits needed to tell it from others, exceed the bounds of this module."""


class Undefined(Exception):
    """The expression has no value, such as 1/0."""


def exact_value(node: Node) -> Fraction | None:
    """The rational value of a node; None where it is irrational, unknown, or found only by approximation.

    Raises:
        TooLarge: a number of more than `MAX_BITS` bits.
        Undefined: a division by zero.
    """
    if node.op == "figure":
        assert node.figure is not None
        return node.figure.value
    rule = _EXACT.get(node.op)
    if rule is None:
        return None
    args = []
    for arg in node.args:
        value = exact_value(arg)
        if value is None:
            return None
        args.append(value)
    return _bounded(rule(*args))


def _bounded(value: Fraction | None) -> Fraction | None:
    if value is not None and _bits(value) > MAX_BITS:
        raise TooLarge
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _times(a: Fraction, b: Fraction) -> Fraction | None:
    return _bounded(a * b)


def _divide(over: Fraction, under: Fraction) -> Fraction:
    if under == 0:
        raise Undefined("division by zero")
    return over / under


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    if base in (0, 1, -1):
        if base == 0 and exponent <= 0:
            raise Undefined("zero to a power that is not positive")
        return base ** int(exponent % 2) if base == -1 else base
    if _bits(base) * abs(exponent) > MAX_BITS:
        raise TooLarge
    return base ** int(exponent)


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1:
        return None
    if value < 0:
        raise Undefined("the factorial of a negative number")
    if value > MAX_BITS or value * max(1, int(value).bit_length()) > MAX_BITS:
        raise TooLarge
    return Fraction(math.factorial(int(value)))


def _choose(n: Fraction, k: Fraction) -> Fraction | None:
    if n.denominator != 1 or k.denominator != 1 or n < 0:
        return None
    if not 0 <= k <= n:
        return Fraction(0)
    if min(k, n - k) * max(1, int(n).bit_length()) > MAX_BITS:
        raise TooLarge
    return Fraction(math.comb(int(n), int(k)))


def _root(value: Fraction, degree: Fraction) -> Fraction | None:
    """A root that is rational: the square root of 16/9."""
    if degree.denominator != 1 or not 1 <= degree <= 64:
        return None
    if value < 0 and degree % 2 == 0:
        return None
    over, under = (_whole_root(abs(part), int(degree)) for part in (value.numerator, value.denominator))
    if over is None or under is None:
        return None
    return Fraction(over, under) * (-1 if value < 0 else 1)


def _whole_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


_EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda *args: sum(args, Fraction(0)),
    "neg": lambda a: -a,
    "mul": lambda *args: functools.reduce(_times, args),
    "div": _divide,
    "pow": _power,
    "root": _root,
    "factorial": _factorial,
    "binom": _choose,
    "abs": abs,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "max": lambda *args: max(args),
    "min": lambda *args: min(args),
    "gcd": lambda *args: _whole(math.gcd, args),
    "lcm": lambda *args: _whole(math.lcm, args),
    "ratio": lambda *args: _divide(*args) if len(args) == 2 else None,
}


def _whole(function: Callable[..., int], args: tuple[Fraction, ...]) -> Fraction | None:
    return Fraction(function(*map(int, args))) if all(arg.denominator == 1 for arg in args) else None
