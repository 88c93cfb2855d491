r"""Answers in words: equal or not as text, but for the few phrases that say what a symbol says.

>>> standard_words("no real solutions"), are_words("Isosceles"), are_words("xy")
('\\emptyset', True, False)
"""

from __future__ import annotations

import re

from cepo.answers.tokens import looks_english
from cepo.answers.vocabulary import words

__all__ = ["are_words", "same_words", "standard_words"]

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
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_FIGURES: dict[str, str] = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_SHORT = words(
    "no on yes odd one two six ten low top red up to it is or all none not now new old off out in at by he she we us "
    "so my be do go if of as an am and any boy girl day few her him his its day dad mom son tie win won both true "
    "blue even false"
)
_ALGEBRA = words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp sqrt and")
_NAMES = re.compile(r"\\(?:triangle|parallel|perp|cong|sim|overrightarrow|overleftarrow)(?![A-Za-z])")


def standard_words(text: str) -> str:
    """The symbol for a phrase that means one, the figure for a number in words; else the text."""
    text = text.strip(" .")
    for pattern, symbol in _STANDARD:
        if match := pattern.fullmatch(text):
            return match.expand(symbol)
    return _FIGURES.get(text.casefold(), text)


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
