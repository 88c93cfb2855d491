r"""The value of an expression: exactly where it is rational, else to as many digits as its parts differ in size.

Everything is bounded: whole powers, factorials and binomials by the size of the result, all else by its
magnitude and by the digits that it needs. `TooLarge` says that a bound was met.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mpmath.ctx_mp import MPContext

from cepo.answers.tree import Node

__all__ = ["Numeric", "TooLarge", "Undefined", "exact_value", "numeric_context", "pair_values", "random_value"]

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
    "add": lambda a, b: a + b,
    "neg": lambda a: -a,
    "mul": lambda a, b: a * b,
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
    "add": lambda a, b: a + b,
    "neg": lambda a: -a,
    "mul": lambda a, b: a * b,
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
