r"""How one answer may be written: LaTeX dressing, numbers, units, labels. Private to `cepo.answers`.

Text in, parts out; which parts must agree is decided in `cepo.answers`, which passes short text only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

__all__ = ["Number", "Unit", "compatible_units", "key", "number", "split_unit", "undress", "without_labels"]

_SIGNS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": "/",
        "√": r"\sqrt ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≈": r"\approx ",
        "≠": r"\ne ",
        "∠": r"\angle ",
        "△": r"\triangle ",
        "∪": r"\cup ",
        "∅": r"\emptyset ",
        "²": "^2",
        "³": "^3",
        "º": "°",
        "˚": "°",
        "’": "'",
        "′": "'",
    }
)
_DRESSING = [
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"(?<!\\)\\[()\[\]]|\\?\$|^\*+|\*+$", ""),  # math delimiters, dollars, bold marks
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![A-Za-z])|(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*([0-9])", r"\\frac{\1}"),
        (r"(\\frac\s*\{[^{}]*\})\s*([0-9])", r"\1{\2}"),
        (r"(?:\{\s*\})?\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z])|°)|\\degree(?![A-Za-z])|\\circ\s*$", "°"),
        (r"<=|\\leqslant(?![A-Za-z])", r"\\le "),  # so that "=" is left to mean an equation
        (r">=|\\geqslant(?![A-Za-z])", r"\\ge "),
        (r"!=", r"\\ne "),
        (r"\\%", "%"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"(?<![\\A-Za-z])(pi(?![A-Za-z])|sqrt\b)", r"\\\1"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\*\*", "^"),
        (r"\s+", " "),
        (r"^\s*(?:=|\\approx(?![A-Za-z]))|[\s.,;:\\]+$", ""),
        # 3\pi \approx 9.42 says 3\pi; in x \approx 9.42 the left side is a label, which stays.
        (r"((?:^|=)\s*[+-]?\s*(?:[0-9]|\\(?:pi|sqrt|frac)(?![A-Za-z]))[^=]*?)\s*\\approx[^=]*$", r"\1"),
    )
]
_WRAPPED = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf)|mbox)\s*\{([^{}]*)\}")
_TRIGONOMETRY = re.compile(r"(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_TURNS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*°")


def undress(text: str) -> str:
    """The same answer without what only typesets it, fit for math-verify; perhaps empty."""
    text, wrapped = text.translate(_SIGNS), 1
    while wrapped:
        text, wrapped = _WRAPPED.subn(r" \1 ", text)
    for pattern, plain in _DRESSING:
        text = pattern.sub(plain, text)
    if _TRIGONOMETRY.search(text):
        text = _TURNS.sub(r"(\1\\pi/180)", text)  # math-verify reads every angle in radians
    return text.strip()


def key(text: str) -> str:
    """Undressed text, to compare as text: spaces go unless they part two digits (1 1/2 is not 11/2)."""
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)


class Number(NamedTuple):
    """An exact value, and half a unit of its last written decimal (0 where the text means exactly this)."""

    value: Fraction
    rounding: Fraction

    def agrees_with(self, gold: Number) -> bool:
        """Whether this is the gold value, or rounds to it where gold is a rounded decimal."""
        return abs(self.value - gold.value) <= gold.rounding


_ROUNDED_DIGITS = 3
"""Significant digits from which a decimal may be a rounded value: 9.42 may be 3 pi, 0.5 is a half."""
_DECIMAL = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>[0-9]{1,3}(?:[, ][0-9]{3})+|[0-9]*)(?:\.(?P<decimals>[0-9]*))?"
    r"(?:[eE](?P<power>[+-]?[0-9]{1,2}))?"
)
_INTEGER_FRAC = re.compile(r"\\frac\s*\{\s*([+-]?[0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
_FRACTION = re.compile(r"(?P<sign>[+-]?)\s*(?:(?P<whole>[0-9]+)\s+)?(?P<over>[0-9]+)\s*/\s*(?P<under>[0-9]+)")


def number(text: str) -> Number | None:
    """An integer, a decimal, a fraction or a mixed number; None for anything else.

    1,234 and 1 234 are one number; a decimal comma is not read.
    """
    if (match := _DECIMAL.fullmatch(text)) and (match["whole"] or match["decimals"]):
        whole, decimals = re.sub("[, ]", "", match["whole"]), match["decimals"] or ""
        value = Fraction(f"{match['sign']}{whole or '0'}.{decimals or '0'}e{match['power'] or '0'}")
        rounded = decimals and not match["power"] and len((whole + decimals).lstrip("0")) >= _ROUNDED_DIGITS
        return Number(value, Fraction(1, 2 * 10 ** len(decimals)) if rounded else Fraction(0))
    match = _FRACTION.fullmatch(_INTEGER_FRAC.sub(r" \1/\2", text).strip())
    if match is None or int(match["under"]) == 0:
        return None
    value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
    return Number(-value if match["sign"] == "-" else value, Fraction(0))


class Unit(NamedTuple):
    """A unit's one name and its power: ("cm", 2). "unit" stands for whatever the figure is drawn in."""

    name: str
    power: int


_UNITS = {
    "unit": "",
    "°": "deg degree",
    "rad": "radian",
    "%": "percent",
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "s": "sec second",
    "min": "minute",
    "h": "hr hour",
    "g": "gram",
    "kg": "kilogram",
    "l": "L liter litre",
    "ml": "mL milliliter millilitre",
    "m/s": "",
    "km/h": "kph",
    "mph": "",
}
_UNIT_OF = {
    spelling: unit
    for unit, names in _UNITS.items()
    for name in (unit, *names.split())
    for spelling in (name, f"{name}s" if len(name) > 1 else name)
}
_POWER_OF = {"square": 2, "sq": 2, "squared": 2, "2": 2, "cubic": 3, "cu": 3, "cubed": 3, "3": 3}
_UNIT = re.compile(
    r"(?<![A-Za-z\\])(?:(?P<before>square|sq|cubic|cu)\.?\s*)?(?P<name>°|%|[A-Za-z]+(?:/[a-z])?)"
    r"\s*(?:\^\s*\{?\s*(?P<power>[1-3])\s*\}?|(?P<after>squared|cubed))?$"
)


def split_unit(text: str) -> tuple[str, Unit | None]:
    """The quantity, and its trailing unit; None for none.

    A unit of one letter needs a space before it, for "5m" is algebra; and a unit alone is no unit.
    """
    match = _UNIT.search(text)
    if match is None:
        return text, None
    name, quantity = match["name"], text[: match.start()]
    unit = _UNIT_OF.get(name.lower() if len(name) > 1 else name)
    glued = len(name) == 1 and name.isalpha() and not match["before"] and not quantity.endswith(" ")
    if unit is None or glued or not re.search(r"[0-9\\]", quantity):
        return text, None
    power = match["before"] or match["after"] or match["power"] or "1"
    return quantity.strip(), Unit(unit, _POWER_OF.get(power, 1))


def compatible_units(ours: Unit | None, theirs: Unit | None) -> bool:
    """Whether the two may stand for one unit: equal, or one missing, or one a "unit" of the same power."""
    if ours is None or theirs is None:
        return True
    return ours.power == theirs.power and (ours.name == theirs.name or "unit" in (ours.name, theirs.name))


_LABEL = re.compile(
    r"(?P<label>[A-Za-z\\][A-Za-z0-9\\'_{}()° ]*?)\s*(?:=|\\approx(?![A-Za-z]))"
    r"(?:(?:(?!or\b|and\b)[^=<>,;])*=)*"  # of x = 3 + 2 = 5 the last counts; "x = 5 or x = 3" is no chain
    r"(?P<value>[^=<>]+)"
)


def without_labels(candidate: str, gold: str) -> tuple[str, str]:
    """Both without their "x =", unless the labels differ or one is an equation that assigns nothing."""
    ours, theirs = _LABEL.fullmatch(candidate), _LABEL.fullmatch(gold)
    if ours and theirs and key(ours["label"]) != key(theirs["label"]):
        return candidate, gold
    bare = ours["value"].strip() if ours else candidate
    bare_gold = theirs["value"].strip() if theirs else gold
    return (candidate, gold) if "=" in bare + bare_gold else (bare, bare_gold)
