r"""Repeating decimals as fractions.

>>> repeating_value("0.1", "6").figure.value, period_seen("0.333").figure.value
(Fraction(1, 6), Fraction(1, 3))
"""

from __future__ import annotations

import re
from fractions import Fraction

from cepo.answers.tree import Node, Unreadable

__all__ = ["period_seen", "repeating_value"]

_SEEN = re.compile(r"(?P<before>[0-9]*\.[0-9]*?)(?P<period>[0-9]{1,6}?)(?P=period){1,}")


def repeating_value(digits: str, period: str) -> Node:
    """The value of `digits` (with a decimal point) followed by `period` for ever."""
    if not period.isdecimal():
        raise Unreadable("a period that is no number")
    places = len(digits.partition(".")[2])
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10**places)
    return Node.number(Fraction(digits.rstrip(".") or 0) + tail)


def period_seen(digits: str) -> Node:
    """0.333 as it stands before dots: its last digits must be seen to repeat, three digits or more in all."""
    match = _SEEN.fullmatch(digits)
    if match is None or len(digits) - len(match["before"]) < 3:
        raise Unreadable("dots after digits that do not repeat")
    return repeating_value(match["before"], match["period"])
