r"""Numbers as written: their exact value, and how far a decimal may have been rounded.

>>> read_number("1,234.50").value, read_number("1 1/2").value, read_number("3.54e-07").decimals
(Fraction(2469, 2), Fraction(3, 2), None)
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

__all__ = ["Figure", "decimal_figure", "read_number"]

ROUNDED_DIGITS = 3
"""Significant digits from which a gold decimal may be a rounded value: 9.42 may be 3 pi, 0.5 is a half."""
ASKED_DECIMALS = 3
"""Decimals from which an answer may be rounded further than its gold answer: 2.094 for 2.0944."""
FLOAT_DIGITS = 15
"""Significant digits from which a gold decimal is a float that was printed whole."""
MAX_POWER_DIGITS = 4


class Figure(NamedTuple):
    """A number as it was written.

    Attributes:
        value: exact.
        rounding: how far from `value` the number meant may lie; 0 where the text means exactly this.
        decimals: digits after the decimal point of a plain decimal, None for fractions and powers of ten.
    """

    value: Fraction
    rounding: Fraction = Fraction(0)
    decimals: int | None = None

    def answers(self, gold: Figure) -> bool:
        """Whether this is the gold value, rounds to it, or is the gold value rounded to three decimals or more.

        >>> decimal_figure("3.1416").answers(decimal_figure("3.14"))
        True
        >>> [decimal_figure(text).answers(decimal_figure("2.0944")) for text in ("2.094", "2.09", "2.095")]
        [True, False, False]
        """
        off = abs(self.value - gold.value)
        return off <= gold.rounding or self._rounds(gold, off)

    def _rounds(self, gold: Figure, off: Fraction) -> bool:
        if not self.decimals or not gold.decimals or gold.decimals <= max(ASKED_DECIMALS, self.decimals):
            return False
        unit = Fraction(1, 10 ** max(ASKED_DECIMALS, self.decimals))  # 2.5 may be 2.500 with its zeros dropped
        # At least two significant digits: 0.001 says too little of 0.0012.
        return off <= unit / 2 and abs(self.value) >= 10 * unit


_DECIMAL = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>[0-9]{1,3}(?:[, ][0-9]{3})+|[0-9]*)(?:\.(?P<decimals>[0-9]*))?"
    rf"(?:[eE](?P<power>[+-]?[0-9]{{1,{MAX_POWER_DIGITS}}}))?"
)
_FRACTION = re.compile(r"(?P<sign>[+-]?)\s*(?:(?P<whole>[0-9]+)\s+)?(?P<over>[0-9]+)\s*/\s*(?P<under>[0-9]+)")


def decimal_figure(text: str) -> Figure | None:
    """An integer or a decimal, perhaps with a power of ten; None for anything else."""
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"] or match["decimals"]):
        return None
    whole, decimals = re.sub("[, ]", "", match["whole"]), match["decimals"] or ""
    value = Fraction(f"{match['sign']}{whole or '0'}.{decimals or '0'}e{match['power'] or '0'}")
    if match["power"]:
        return Figure(value)
    return _measured(value, whole, decimals)


def _measured(value: Fraction, whole: str, decimals: str) -> Figure:
    """The figure of a plain decimal, with its rounding."""
    significant = len((whole + decimals).lstrip("0"))
    if value.denominator == 1 or significant < ROUNDED_DIGITS or not decimals:
        return Figure(value, decimals=len(decimals))  # 27.0 is a float that means 27
    if significant < FLOAT_DIGITS:
        return Figure(value, Fraction(1, 2 * 10 ** len(decimals)), len(decimals))
    # A float that was printed whole: its last digits are noise.
    return Figure(value, abs(value) / 10**14, len(decimals))


def read_number(text: str) -> Figure | None:
    """An integer, a decimal, a fraction or a mixed number; None for anything else.

    1,234 and 1 234 are one number; a decimal comma is not read.
    """
    text = text.strip()
    if figure := decimal_figure(text):
        return figure
    match = _FRACTION.fullmatch(text)
    if match is None or int(match["under"]) == 0:
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
    return Figure(-value if match["sign"] == "-" else value)
