r"""Answers in words: equal or not as text, but for the few phrases that say what a symbol says.

>>> standard_words("no real solutions"), are_words("Isosceles"), are_words("xy")
('\\emptyset', True, False)
"""

from __future__ import annotations

import re

from cepo.answers.tokens import looks_english
from cepo.answers.vocabulary import words

__all__ = ["are_words", "counted_words", "same_words", "standard_words"]

_STANDARD = [
    (re.compile(pattern, re.IGNORECASE), symbol)
    for pattern, symbol in (
        (
            r"(?:there (?:is|are) )?no (?:real |such |possible |integer |valid )*"
            r"(?:solutions?|roots?|(?:real )?values?|answers?)(?: exists?)?"
            r"|(?:the )?empty set|null set|none|\\\{\s*\\\}",
            r"\\emptyset",
        ),
        (
            r"(?:the set of )?all (?:the )?(?:real numbers|reals)|(?:the )?real numbers|\\mathbb\{R\}|all real",
            r"\\mathbb{R}",
        ),
        (
            r"(?:the set of )?(?:all )?(?:real numbers|reals)(?: x)? "
            r"(?:except|other than|but)(?: for)?(?: x ?=)? ?([^a-z]+)",
            r"\\mathbb{R} \\setminus \\{\1\\}",
        ),
        (r"(?:positive |\+)?infinity|\+\s*\\infty", r"\\infty"),
        (r"(?:negative |- ?)infinity", r"-\\infty"),
        (r"undefined|dne|does not exist|doesn't exist|not defined|no limit", "undefined"),
    )
]
_ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_FIGURES = {word: number for number, word in enumerate([*_ONES, *_TEENS], 1)}
_FIGURES |= {word: 10 * number for number, word in enumerate(_TENS, 2)} | {"a": 1}
_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ONES)}))?|{'|'.join([*_TEENS, *_ONES])})"
_BELOW_1000 = rf"(?:(?:{'|'.join(_ONES)}|a) hundred(?:(?: and)? {_SMALL})?|{_SMALL})"
_NUMBER = re.compile(
    rf"(?:(?P<millions>{_BELOW_1000}) million)?(?:\b,? ?(?P<thousands>{_BELOW_1000}|a(?= thousand)) thousand)?"
    rf"(?:\b,? ?(?:(?<=[dn]) ?and )?(?P<rest>{_BELOW_1000}))?",
    re.IGNORECASE,
)
_BASE = re.compile(r"([0-9A-Z]+) ?\(?(?:in )?(?:base|radix)[ -]?([0-9]{1,2}|[a-z]+)\)?", re.IGNORECASE)
_NEGATIVE = re.compile(r"(?:negative|minus) (.+)", re.IGNORECASE)
_SHORT = words(
    "no on yes odd one two six ten low top red up to it is or all none not now new old off out in at by he she we us "
    "so my be do go if of as an am and any boy girl day few her him his its day dad mom son tie win won both true "
    "blue even false"
)
_ALGEBRA = words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp sqrt and")
_NAMES = re.compile(r"\\(?:triangle|parallel|perp|cong|sim|overrightarrow|overleftarrow)(?![A-Za-z])")


def standard_words(text: str) -> str:
    """The symbol for a phrase, the figure for a number in words, `204_{5}` for "204 base 5"; else the text."""
    text = text.strip(" .")
    for pattern, symbol in _STANDARD:
        if match := pattern.fullmatch(text):
            return match.expand(symbol)
    if (match := _BASE.fullmatch(text)) and (base := _figure(match[2])) is not None:
        return f"{match[1]}_{{{base}}}"
    match = _NEGATIVE.fullmatch(text)
    size = _figure(match[1] if match else text)
    return text if size is None else f"-{size}" if match else size


def counted_words(text: str) -> str | None:
    r"""A number in words and what it counts, "seven days" as `7 \text{days}`; None for other text."""
    pieces = text.split(" ")
    for place in range(len(pieces) - 1, 0, -1):
        rest = " ".join(pieces[place:])
        if (size := _figure(" ".join(pieces[:place]))) is not None and not pieces[0][0].isdigit() and rest.isascii():
            return f"{size} \\text{{{rest}}}" if re.fullmatch("[A-Za-z ]+", rest) else None
    return None


def _figure(text: str) -> str | None:
    """The figure for "twenty-one" or "two hundred and five"; a figure itself as it is; None for other words.

    >>> _figure("two thousand and five"), _figure("one half"), _figure("five six"), _figure("2.5")
    ('2005', None, None, '2.5')
    """
    if re.fullmatch(r"[0-9][0-9,]*(?:\.[0-9]+)?", text):
        return text
    if text.casefold() == "zero":
        return "0"
    match = _NUMBER.fullmatch(text)
    if match is None or not text.strip():
        return None
    scales = ((match["millions"], 10**6), (match["thousands"], 1000), (match["rest"], 1))
    return str(sum(_below_1000(words) * scale for words, scale in scales if words))


def _below_1000(text: str) -> int:
    size = 0
    for word in re.split("[- ]", text.casefold()):
        size = size * 100 if word == "hundred" else size + _FIGURES.get(word, 0)
    return size


def are_words(text: str) -> bool:
    """Whether a gold answer is words or a geometric statement, and no algebra."""
    if _NAMES.search(text) and "=" not in text:
        return True
    if re.fullmatch(r"[A-Za-z]+'+", text):
        return True
    if re.fullmatch(r"[^\W\d_]+(?:[ '-]+[^\W\d_]+)+", text):
        return any(len(word) > 2 and word.casefold() not in _ALGEBRA for word in re.split("[ '-]+", text))
    if not re.fullmatch(r"[^\W\d_]{2,}", text):
        return False
    return not text.isascii() or not _is_product(text)


def _is_product(text: str) -> bool:
    """Whether letters are variables side by side: xy, abc, mn; not "no", "on", "Alina"."""
    if text.casefold() in _SHORT or len(text) > 4 or looks_english(text):
        return False
    return len(text) == 2 or (list(text) == sorted(text) and text.islower()) or not re.search("[aeiouyAEIOUY]", text)


def same_words(candidate: str, gold: str) -> bool:
    """Whether two phrases are equal but for case, spaces and an article in front."""
    return _folded(candidate) == _folded(gold)


def _folded(text: str) -> str:
    text = re.sub(r"^(?:the|a|an|it is|is)\s+", "", text.strip().strip(".").casefold())
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text)
