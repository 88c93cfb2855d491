r"""An undressed answer cut into tokens, with its words told from products of letters.

>>> [token.text for token in tokenize(r"2xy \text{cm}")]
['2', 'x', 'y', 'cm']
>>> [token.kind for token in tokenize("18 apples")]
['number', 'words']
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cepo.answers.tree import Unreadable
from cepo.answers.units import SAFE_BARE_UNITS
from cepo.answers.vocabulary import words

__all__ = ["Token", "join_thousands", "tokenize"]

_PLAIN_NAMES = words(
    "sin cos tan cot sec csc arcsin arccos arctan asin acos atan sinh cosh tanh ln log lg exp sqrt pi infty "
    "gcd lcm max min alpha beta gamma theta lambda mu sigma omega phi binom frac"
)
_SYNONYMS = {"infinity": "infty", "inf": "infty", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}
_SEPARATORS = frozenset({"or", "and"})

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+\.?)(?:[eE][+-]?[0-9]{1,4}(?![0-9A-Za-z.^]))?)"
    r"|\\text\{(?P<words>[^{}]*)\}"
    r"|\\(?P<command>[A-Za-z]+|\\)"
    r"|(?P<mark>\\[{}|$#&_]|[-+*/^_=<>!|(){}\[\],;:'°%&.$€£¥₹¢])"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<foreign>[^\x00-\x7f]+)"
)


_PHRASE = re.compile(
    r"(?!(?:or|and|sin|cos|tan|sqrt|log|ln|pi)\b)(?:[A-Za-z]{2,} +[A-Za-z]{3,}|[A-Za-z]{3,} +(?:is|of|in)\b)"
)
"""Two words in a row are a phrase, not a product of letters."""


class Token(NamedTuple):
    """`kind` is number, command, mark, letter or words; `bare` are words that were not set upright."""

    kind: str
    text: str
    spaced: bool
    bare: bool = False


_THOUSANDS = re.compile(r"(?<![0-9.,\w])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_BETWEEN_BRACKETS = re.compile(r"(?:\\\{|[(\[])\s*$"), re.compile(r"^\s*(?:\\\}|[)\]])")


def join_thousands(text: str) -> str:
    """1,234,567 as one number; a pair in brackets such as (1,234) stays a pair."""

    def join(match: re.Match[str]) -> str:
        opens, closes = _BETWEEN_BRACKETS
        inside = opens.search(text[: match.start()]) and closes.match(text[match.end() :])
        return match.group() if inside else match.group().replace(",", "")

    return _THOUSANDS.sub(join, text)


def tokenize(text: str) -> list[Token]:
    """The tokens of an undressed answer.

    Raises:
        Unreadable: a character that no answer of numbers, letters and signs holds.
    """
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise Unreadable(f"no token starts at {text[position : position + 10]!r}")
        kind = match.lastgroup
        if kind == "space":
            spaced = True
        else:
            if kind == "letters":
                tokens += _letters(match[kind], spaced, tokens, text[match.start() :])
            else:
                tokens += _tokens(kind, match[kind], spaced)
            spaced = False
        position = match.end()
    return tokens


def _tokens(kind: str, text: str, spaced: bool) -> list[Token]:
    if kind == "foreign":
        return [Token("words", text, spaced)]
    if kind == "words":
        return _upright(text, spaced)
    if kind == "command":
        return [Token("command", _SYNONYMS.get(text, text), spaced)]
    return [Token(kind, text, spaced)]


def _upright(text: str, spaced: bool) -> list[Token]:
    """Upright words: a separator ("or"), or words; commas around them part answers."""
    tokens = []
    for piece in re.findall(r"[,;]|[^,;]+", text):
        words = piece.strip(" .:()") if piece.count("(") == piece.count(")") else piece
        if piece in ",;":
            tokens.append(Token("mark", piece, spaced))
        elif words:
            kind = "separator" if words.lower() in _SEPARATORS else "words"
            tokens.append(Token(kind, words.lower() if kind == "separator" else words, spaced))
    return tokens


def _letters(text: str, spaced: bool, before: list[Token], rest: str) -> list[Token]:
    """A run of letters, where `rest` is the text from there on: words, a name, or one token for each letter."""
    lowered = text.lower()
    if lowered in _SEPARATORS and len(text) > 1:
        return [Token("separator", lowered, spaced)]
    if text in _PLAIN_NAMES or lowered in ("infinity", "inf"):
        return [Token("command", _SYNONYMS.get(lowered, text), spaced)]
    if text == "U" and spaced and before and before[-1].text in (")", "]", "}"):
        return [Token("command", "cup", spaced)]
    if _PHRASE.match(rest) or _are_words(text, spaced, before, rest[len(text) :]):
        return [Token("words", text, spaced, bare=True)]
    return [Token("letter", letter, spaced and place == 0) for place, letter in enumerate(text)]


def _are_words(text: str, spaced: bool, before: list[Token], after: str) -> bool:
    """Whether bare letters are a word: a unit after a number, a word in a phrase, or one that looks English."""
    follows = bool(before) and (
        before[-1].kind in ("number", "words") or before[-1].text in (")", "}", "]", "pi", "$", "/")
    )
    if text in SAFE_BARE_UNITS and follows and not _GOES_ON.match(after):
        return True
    if before and before[-1].kind == "words" and before[-1].bare and spaced:
        return True
    return looks_english(text) and (spaced or not before)


_GOES_ON = re.compile(r"\s*(?:[-+*!(0-9]|\\(?:sqrt|frac|pi|pm|sin|cos|left)(?![A-Za-z]))")
"""What follows a product of variables and no unit: the mm of 4mm + 3x."""


def looks_english(text: str) -> bool:
    """Four letters or more, with a vowel and not in the alphabet's order as products of variables are.

    >>> [looks_english(word) for word in ("apples", "abcd", "xyz", "men", "Area")]
    [True, False, False, False, True]
    """
    lowered = text.lower()
    return (
        len(text) >= 4
        and re.search("[aeiou]", lowered) is not None
        and list(lowered) != sorted(lowered)
        and re.fullmatch("[A-Za-z]?[a-z]+|[A-Z]+", text) is not None
    )
