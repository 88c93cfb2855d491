r"""Units and nouns: what follows a number and says of what it is.

A unit is a product of powers of names, with its spellings folded: "cm^2", "square centimeters" and
"sq cm" are one. A word that is in no table is a noun and a unit of its own: "18 apples".

>>> read_unit("miles per hour") == read_unit("mph"), read_unit("m/s^2").powers
(True, {'m': 1, 's': -2})
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cepo.answers.vocabulary import words

__all__ = ["SAFE_BARE_UNITS", "SPACED_LETTERS", "Unit", "compatible_units", "is_noun_phrase", "read_unit"]

_SPELLINGS = {
    "unit": "",
    "°": "deg degree",
    "°C": "celsius centigrade",
    "°F": "fahrenheit",
    "rad": "radian",
    "%": "percent percentage",
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "dm": "decimeter decimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "s": "sec second",
    "min": "minute mins",
    "h": "hr hour",
    "day": "",
    "week": "wk",
    "month": "",
    "year": "yr",
    "g": "gram",
    "mg": "milligram",
    "kg": "kilogram kilo",
    "t": "ton tonne",
    "pound": "lb £",
    "oz": "ounce",
    "l": "L liter litre",
    "ml": "mL milliliter millilitre",
    "gal": "gallon",
    "$": "dollar usd buck",
    "cent": "¢",
    "€": "euro eur",
    "¥": "yen yuan 元 円 rmb",
    "₹": "rupee rs",
    "N": "newton",
    "J": "joule",
    "kJ": "kilojoule",
    "W": "watt",
    "kW": "kilowatt",
    "V": "volt",
    "A": "ampere amp",
    "Ω": "ohm \\Omega \\ohm",
    "Pa": "pascal",
    "kPa": "kilopascal",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "K": "kelvin",
    "C": "coulomb",
    "T": "tesla",
    "mol": "mole",
    "eV": "",
    "acre": "",
    "person": "people",
    "child": "children",
    "man": "men",
    "woman": "women",
}
_NAME_OF = {
    spelling: name
    for name, others in _SPELLINGS.items()
    for word in (name, *others.split())
    for spelling in (word, f"{word}s" if len(word) > 1 and word.isascii() else word)
}
_COMPOUNDS = {"mph": {"mi": 1, "h": -1}, "kph": {"km": 1, "h": -1}, "kmph": {"km": 1, "h": -1}}
SAFE_BARE_UNITS = words(
    "deg degree degrees percent mm cm dm km in ft yd mi sec min mins hr hrs kg lb lbs oz ml mL mph kph units unit rad "
    "sq cu men day days cow cows usd USD yen"
)
"""Short words that are units without being set upright: products of variables are seldom written like them."""
SPACED_LETTERS = words("m s h g l L N J W")
"""Letters that are units after a space, in an answer to a gold answer that is a plain number."""
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_CHANGES_THE_NUMBER = words(
    "or and to through thru not no minus negative plus times over less least most than mod modulo base half halves "
    "third thirds fourth quarter fifth quarters except without factorial root if when where unless remainder "
    "fewer below above between under double twice triple per cent choose divided multiplied by "
    "undefined none infinity infinite pi sqrt log ln sin cos tan hundredth tenth thousandth hundredths tenths "
    "thousandths million millions billion billions thousand thousands hundred hundreds trillion dozen dozens gross "
    "k bn hundredfold fold point score scores fourths fifths sixth sixths seventh sevenths eighth eighths ninth ninths "
    "twelfth twelfths sixteenth sixteenths billionth billionths millionth millionths percentage basis mod tens"
)
_HOMELESS = words("of the a an in each per all total worth long tall wide high away left old")
_NOUN_CHARACTERS = re.compile(r"[^\W\d_][^\d_+*=<>|\\{}\[\]^]*")
_CHINESE_NUMBERS = re.compile("[一二三四五六七八九十百千万亿半或和与分零两至到不倍]")


@dataclass(frozen=True)
class Unit:
    """A product of powers of unit names, and the significant words of a noun phrase in no table."""

    powers: dict[str, int] = field(default_factory=dict)
    nouns: frozenset[str] = frozenset()

    def __hash__(self) -> int:
        return hash((frozenset(self.powers.items()), self.nouns))


def is_noun_phrase(text: str) -> bool:
    """Whether upright words after a number say of what it is, and leave the number as it is."""
    if not _NOUN_CHARACTERS.fullmatch(text) or _CHINESE_NUMBERS.search(text):
        return False
    found = re.findall(r"[^\W\d_]+", text.lower())
    if found[0] in ("squared", "cubed"):
        return False
    if found[0] == "per" and len(found) > 1 and found[1] != "cent":
        found = found[1:]  # "miles" "per hour" may come in two pieces
    return not any(
        word in _CHANGES_THE_NUMBER and not (word == "per" and 0 < place < len(found) - 1)
        for place, word in enumerate(found)
    )


_FACTOR = re.compile(
    r"\s*(?P<join>/|per\b|\\cdot|\*|·)?\s*(?P<before>square|sq|cubic|cu)?(?(before)\.?\s+)"
    r"(?P<name>°[CF]?|[%$€£¥¢₹]|\\?[^\W\d_]+)\.?"
    r"\s*(?:\^\s*\{?\s*(?P<power>-?[1-9])\s*\}?|(?P<after>squared|cubed)\b)?"
)


def read_unit(text: str) -> Unit | None:
    """The unit that `text` names as a whole; None where it is none, or changes the number before it."""
    powers: dict[str, int] = {}
    nouns: set[str] = set()
    text = re.sub(r"\^\s*\{?\s*-\s*([1-9])\s*\}?", r"^~\1", text)  # the minus of s^{-1} is no hyphen
    position, text = 0, re.sub(r"[()-]", " ", text).replace("~", "-").strip()
    sign = 1
    while position < len(text):
        match = _FACTOR.match(text, position)
        if match is None:
            return None
        position = match.end()
        while position < len(text) and text[position] in " .,;'":
            position += 1
        if match["join"] in ("/", "per"):
            sign = -1
        _add(match, sign, powers, nouns)
    if powers.get("%", 1) != 1:
        return None
    return Unit({name: power for name, power in powers.items() if power}, frozenset(nouns))


def _add(match: re.Match[str], sign: int, powers: dict[str, int], nouns: set[str]) -> None:
    name = match["name"]
    power = sign * (_POWER_WORDS.get(match["before"] or match["after"] or "") or int(match["power"] or 1))
    if compound := _COMPOUNDS.get(name.lower()):
        parts = compound
    elif known := _known(name):
        parts = {known: 1}
    elif name.lower() in _HOMELESS:
        return
    else:
        nouns.add(_singular(name.casefold()))
        return
    if "deg" in (name.lower()[:3]) and not powers and not nouns and power == 1:
        powers["°"] = 1
        return
    for part, own in parts.items():
        if part in ("°C", "°F"):
            powers.pop("°", None)  # degrees Celsius
        powers[part] = powers.get(part, 0) + own * power


def _known(name: str) -> str | None:
    return _NAME_OF.get(name) or (_NAME_OF.get(name.lower()) if len(name) > 1 else None)


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + instead
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def compatible_units(ours: Unit | None, theirs: Unit | None) -> bool:
    """Whether both may stand for one unit: one is missing, they are equal, or one is a "unit" of the same power.

    Of two nouns one may say more than the other: "bags" and "bags of rice". Nothing is converted.
    """
    if ours is None or theirs is None or ours == theirs:
        return True
    if ours.nouns or theirs.nouns:
        return _same_nouns(ours, theirs)
    if {"°C", "°F"} & (ours.powers.keys() | theirs.powers.keys()):
        return {"°"} in (ours.powers.keys(), theirs.powers.keys())
    if {"unit"} in (ours.powers.keys(), theirs.powers.keys()):
        return sum(ours.powers.values()) == sum(theirs.powers.values())
    return False


def _same_nouns(ours: Unit, theirs: Unit) -> bool:
    shared = ours.nouns & theirs.nouns
    if not shared and (ours.nouns and theirs.nouns):
        return False
    if ours.powers and theirs.powers and ours.powers != theirs.powers:
        return False
    # One of them names a unit alone and the other a noun alone: 5 cm is not 5 apples.
    return bool(shared) or bool(ours.powers and theirs.powers and ours.powers == theirs.powers)
