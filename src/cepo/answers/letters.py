"""Letters that may be units: the m of "5 m" and of "5 m/s"."""

from __future__ import annotations

from cepo.answers.tokens import Token, tokenize
from cepo.answers.tree import Unreadable
from cepo.answers.units import SPACED_LETTERS

__all__ = ["has_letters", "has_words", "with_spaced_units", "with_speeds"]


def has_letters(text: str) -> bool:
    """Whether a bare letter stands in the answer: a variable, or a unit that is written like one."""
    try:
        return any(token.kind == "letter" for token in tokenize(text))
    except Unreadable:
        return True


def has_words(text: str) -> bool:
    """Whether words stand in the answer, as units do."""
    try:
        return any(token.kind == "words" for token in tokenize(text))
    except Unreadable:
        return False


def with_speeds(tokens: list[Token]) -> list[Token]:
    """The m/s of "5 m/s", and the h of "km/h", as units."""
    found = list(tokens)
    for place in range(len(found) - 2):
        first, slash, last = found[place : place + 3]
        if slash.text != "/" or last.kind != "letter" or last.text not in SPACED_LETTERS:
            continue
        metres = first.kind == "letter" and first.text == "m" and first.spaced and last.text == "s" and place > 0
        if first.kind == "words" or metres:
            found[place], found[place + 2] = _as_words(first), _as_words(last)
    return found


def _as_words(token: Token) -> Token:
    return token._replace(kind="words", bare=True)


def with_spaced_units(tokens: list[Token]) -> list[Token]:
    """The last letter of "5 m" or "5 m^2" as a unit."""
    place = len(tokens) - 1
    if place >= 2 and tokens[place].kind == "number" and tokens[place - 1].text == "^":
        place -= 2
    letter = tokens[place]
    if place and letter.kind == "letter" and letter.spaced and letter.text in SPACED_LETTERS:
        return [*tokens[:place], _as_words(letter), *tokens[place + 1 :]]
    return tokens
