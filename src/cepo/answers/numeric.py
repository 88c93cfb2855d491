r"""The value of an expression that is not rational, to as many digits as its parts differ in size.

Everything is bounded, by its magnitude and by the digits that it needs; `TooLarge` says that a bound was met.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mpmath.ctx_mp import MPContext

from cepo.answers.exact import TooLarge, Undefined
from cepo.answers.tree import Node

__all__ = ["GUARD_DIGITS", "pair_values", "random_value"]

MAX_MAGNITUDE = 10**9
"""Bits before or behind the point of an inexact number; 10^{10^8} is within, 10^{10^{10}} is not."""
MAX_DIGITS = 600
"""Digits by which the numbers met on the way to a value may differ in size."""
MAX_GAMMA_DIGITS = 250
"""Digits to which factorials of other than whole numbers are found: at a thousand one takes seconds."""
GUARD_DIGITS = 30
"""Digits beyond those that the sizes of the numbers ask for."""

_LOCAL = threading.local()


def numeric_context() -> Any:
    """mpmath's arithmetic, one for each thread: its precision is a setting of the whole context."""
    if not hasattr(_LOCAL, "context"):
        _LOCAL.context = MPContext()
    return _LOCAL.context


class Numeric:
    """Approximate values of nodes at a precision, and the sizes of the numbers met on the way.

    Args:
        values: the numbers that symbols stand for; a symbol that is missing gets none.
        salt: tells one choice of values for opaque functions from another.
    """

    def __init__(self, digits: int, values: Mapping[str, Fraction], salt: int = 0) -> None:
        self.context = numeric_context()
        self.digits = digits
        self.context.dps = digits
        self.values = values
        self.salt = salt
        self.largest = self.smallest = 0

    def of(self, node: Node) -> Any:
        """The value of `node`, real or complex.

        Raises:
            TooLarge, Undefined: there is none within the bounds.
        """
        value = self._raw(node)
        if not self.context.isfinite(value):
            raise Undefined("not a finite number")
        return self._noted(value)

    def _noted(self, value: Any) -> Any:
        for part in (self.context.re(value), self.context.im(value)):
            if part:
                size = self.context.mag(part)
                if abs(size) > MAX_MAGNITUDE:
                    raise TooLarge
                self.largest, self.smallest = max(self.largest, size), min(self.smallest, size)
        return value

    def _raw(self, node: Node) -> Any:
        if node.op == "figure":
            assert node.figure is not None
            return self.context.mpf(node.figure.value.numerator) / node.figure.value.denominator
        if node.op == "constant":
            return self._constant(node.name)
        if node.op == "symbol":
            value = self.values[node.name]
            return self.context.mpf(value.numerator) / value.denominator
        if node.op == "opaque":
            return self._opaque(node)
        args = [self.of(arg) for arg in node.args]
        try:
            return self._apply(node, args)
        except (ZeroDivisionError, ValueError, OverflowError, KeyError, TypeError) as error:
            raise Undefined(str(error)) from None
        except self.context.NoConvergence:
            raise TooLarge from None

    def _constant(self, name: str) -> Any:
        if name == "infty":
            raise Undefined("infinity is no number")
        return {"pi": +self.context.pi, "e": +self.context.e, "i": self.context.mpc(0, 1)}[name]

    def _opaque(self, node: Node) -> Any:
        """A number that the function's name and its arguments decide, and nothing else."""
        args = [self.context.nstr(self.of(arg), self.digits // 2) for arg in node.args]
        value = random_value(f"{node.name}({args})", self.salt)
        return self.context.mpf(value.numerator) / value.denominator

    def _apply(self, node: Node, args: list[Any]) -> Any:
        if node.op in _ARITHMETIC:
            return _ARITHMETIC[node.op](*args)
        return _FUNCTIONS[node.name or node.op](self, *args)

    def power(self, base: Any, exponent: Any) -> Any:
        if base == 0:
            if self.context.re(exponent) <= 0:
                raise Undefined("zero to a power that is not positive")
            return base
        if exponent == 0:
            return self.context.mpf(1)
        if abs(self.context.mag(exponent)) > 200:
            raise TooLarge
        if abs(self.context.log(abs(base), 2) * exponent) > MAX_MAGNITUDE:
            raise TooLarge
        return self.context.power(base, exponent)

    def root(self, value: Any, degree: Any) -> Any:
        whole = degree == int(self.context.re(degree)) if self.context.im(degree) == 0 else False
        if whole and int(degree) % 2 == 1 and self.context.im(value) == 0 and value < 0:
            return -self.power(-value, 1 / degree)  # the real root, as schools have it
        return self.context.sqrt(value) if degree == 2 else self.power(value, 1 / degree)

    def calm(self, value: Any, bits: int = 60) -> Any:
        """An argument of a function whose cost grows with its argument."""
        if value and self.context.mag(abs(value)) > bits:
            raise TooLarge
        return value

    def gamma(self, value: Any) -> Any:
        if self.digits > MAX_GAMMA_DIGITS:
            raise TooLarge
        return self.context.gamma(self.calm(value, 20) + 1)

    def binomial(self, n: Any, k: Any) -> Any:
        if self.digits > MAX_GAMMA_DIGITS:
            raise TooLarge
        return self.context.binomial(self.calm(n, 20), self.calm(k, 20))

    def real(self, value: Any) -> Any:
        if self.context.im(value):
            raise Undefined("an order among complex numbers")
        return self.context.re(value)


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": lambda *args: functools.reduce(operator.add, args),
    "neg": operator.neg,
    "mul": lambda *args: functools.reduce(operator.mul, args),
    "div": lambda a, b: a / b,
    "ratio": lambda a, b: a / b,
    "abs": abs,
}


def _plain(name: str) -> Callable[..., Any]:
    return lambda numeric, value: getattr(numeric.context, name)(numeric.calm(value))


def _log(numeric: Numeric, value: Any, base: Any = None) -> Any:
    if value == 0:
        raise Undefined("the logarithm of zero")
    logarithm = numeric.context.log(value)
    return logarithm if base is None else logarithm / numeric.context.log(base)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _plain(name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{f"arc{name}": _plain(f"a{name}") for name in ("sin", "cos", "tan")},
    "exp": lambda numeric, value: numeric.power(numeric.context.e, value),
    "ln": _log,
    "log": _log,
    "pow": Numeric.power,
    "root": Numeric.root,
    "factorial": Numeric.gamma,
    "binom": Numeric.binomial,
    "degrees": lambda numeric, value: value * numeric.context.pi / 180,
    "floor": lambda numeric, value: numeric.context.floor(numeric.calm(numeric.real(value))),
    "ceil": lambda numeric, value: numeric.context.ceil(numeric.calm(numeric.real(value))),
    "max": lambda numeric, *args: max(map(numeric.real, args)),
    "min": lambda numeric, *args: min(map(numeric.real, args)),
}


def random_value(name: str, salt: int) -> Fraction:
    """A number between 1/8 and 8 that the name and the salt decide."""
    drawn = int.from_bytes(hashlib.blake2b(f"{salt}:{name}".encode(errors="backslashreplace"), digest_size=10).digest())
    scale = Fraction(1 << (drawn % 6), 8)
    return scale * (1 + Fraction(drawn >> 8, 1 << 72))


def pair_values(ours: Node, gold: Node, values: Mapping[str, Fraction], salt: int = 0) -> tuple[Any, Any, Any]:
    """Both values, and how far apart they may lie if they are equal.

    The digits grow with the sizes of the numbers met, so that the tolerance is far below the smallest of them:
    in 1 + 10^{-60} sixty digits are not enough.

    Raises:
        TooLarge, Undefined: one of them has no value within the bounds.
    """
    digits = 2 * GUARD_DIGITS
    a, b, spread, largest = _pair_at(digits, ours, gold, values, salt)
    if spread > GUARD_DIGITS // 3:
        if spread > MAX_DIGITS:
            raise TooLarge
        digits += 2 * spread
        a, b, _, largest = _pair_at(digits, ours, gold, values, salt)
    context = numeric_context()
    return a, b, context.ldexp(context.mpf(10) ** (GUARD_DIGITS - digits), largest)


def _pair_at(
    digits: int, ours: Node, gold: Node, values: Mapping[str, Fraction], salt: int
) -> tuple[Any, Any, int, int]:
    """Both values to `digits` digits, and the spread (in digits) and largest size (in bits) of all numbers met."""
    numeric = Numeric(digits, values, salt)
    a, b = numeric.of(ours), numeric.of(gold)
    return a, b, int((numeric.largest - numeric.smallest) * 0.302) + 1, numeric.largest
