"""A place in a list of tokens."""

from __future__ import annotations

from cepo.answers.tokens import Token
from cepo.answers.tree import Unreadable

__all__ = ["Cursor"]


class Cursor:
    """Tokens, and how far they are read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> Token | None:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def sees(self, *texts: str) -> bool:
        token = self.peek()
        return token is not None and token.kind in ("mark", "command") and token.text in texts

    def take(self, *texts: str) -> bool:
        if not self.sees(*texts):
            return False
        self.at += 1
        return True

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            raise Unreadable("the text ends in the middle")
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise Unreadable(f"{text!r} is missing")
