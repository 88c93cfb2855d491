"""Which tokens of a solution decide its answer, and where a wrong one first goes wrong.

A solution's *path* is the sequence of its decisive pieces: the values and relations that it chose, in order.
Two texts with equal paths differ in filler only. A path is right when it is one of the problem's right paths,
up to the order of the operands of one sum or product; a wrong path goes wrong at its first character that no
right path has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from cepo.errors import ModelError
from cepo.glossary import Span

__all__ = ["Labels", "Parse", "Path", "agreement", "label_text", "token_spans", "tokens_at"]

Path = tuple[str, ...]
Parse = Callable[[str], tuple[Span, ...] | None]
"""Spans that partition a text; None where the text is not of the grammar."""

_COMMUTES = re.compile(r"([^-+*/=]+?)(\s*[+*]\s*)([^-+*/=]+)")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of one text; `wrong_from` is the first wrong decisive character, None: the path is right."""

    spans: tuple[Span, ...]
    wrong_from: int | None


def label_text(text: str, parse: Parse, right_paths: Iterable[Path]) -> Labels | None:
    """Labels of a text; None where it does not parse.

    Where several right paths agree equally long with the text the text goes wrong at the same place anyway.

    Raises:
        ValueError: no right path at all.
    """
    spans = parse(text)
    if spans is None:
        return None
    decisive = [span for span in spans if span.decisive]
    found = [_wrong_from(text, decisive, right) for right in right_paths]
    if not found:
        raise ValueError("a text can only be judged against one right path or more, got none")
    return Labels(spans, None if None in found else max(place for place in found if place is not None))


def path_of(text: str, spans: Iterable[Span]) -> Path:
    """The decisive pieces of a text."""
    return tuple(text[span.start : span.end] for span in spans if span.decisive)


def _wrong_from(text: str, decisive: Sequence[Span], right: Path) -> int | None:
    """The first decisive character of `text` that leaves `right`; None where the paths are the same.

    A number that stops short (18 for 180) goes wrong at its last character, a path that goes on at its first
    piece too many, and one that ends early at its last character.
    """
    for span, expected in zip(decisive, right, strict=False):
        piece = text[span.start : span.end]
        alternatives = _orders(expected)
        if piece not in alternatives:
            agreed = max(agreement(piece, alternative) for alternative in alternatives)
            return span.start + min(agreed, len(piece) - 1)
    if len(decisive) > len(right):
        return decisive[len(right)].start
    if len(decisive) < len(right):
        return decisive[-1].end - 1 if decisive else 0
    return None


def agreement(one: str, other: str) -> int:
    """How many first characters two texts share."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _orders(piece: str) -> tuple[str, ...]:
    """A piece, and with its operands exchanged where it is one sum or product."""
    match = _COMMUTES.fullmatch(piece)
    return (piece,) if match is None else (piece, "".join(match.group(3, 2, 1)))


def token_spans(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text of completion ids, and the characters [start, end) that each token added to it.

    Special tokens add nothing. A token that is part of a character adds it together with the last of its parts.

    Raises:
        ModelError: a tokenizer whose text of the first tokens is not the first part of the text.
    """
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
    spans, reached = [], 0
    for count in range(1, len(ids) + 1):
        part = str(tokenizer.decode(list(ids[:count]), skip_special_tokens=True)).rstrip("\ufffd")
        end = max(reached, len(part))
        if count < len(ids) and not text.startswith(part):
            raise ModelError(
                f"the tokenizer decodes {count} tokens as {part[-20:]!r}, which is no start of {text!r}: its tokens "
                "have no place in the text (is clean_up_tokenization_spaces on?)"
            )
        spans.append((reached, end))
        reached = end
    if ids:
        spans[-1] = (spans[-1][0], len(text))
    return text, spans


def tokens_at(tokens: Sequence[tuple[int, int]], spans: Iterable[Span]) -> list[bool]:
    """Whether each token overlaps a decisive span; a token without characters does not."""
    decisive = [span for span in spans if span.decisive]
    return [any(start < span.end and span.start < end for span in decisive) for start, end in tokens]
