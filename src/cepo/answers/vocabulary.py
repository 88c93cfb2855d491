"""Lists of words, written as text."""

from __future__ import annotations

__all__ = ["words"]


def words(text: str) -> frozenset[str]:
    """The words of a text, parted by spaces: a long list reads better so than with a quote around each."""
    return frozenset(text.split())
