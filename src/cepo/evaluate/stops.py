"""Texts that end a completion, as training was asked to stop at them (`generation_kwargs`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["NO_STOPS", "Stops", "stops_of"]


@dataclass(frozen=True, slots=True)
class Stops:
    """Where a completion ends beside its end token.

    Attributes:
        texts: the first of these ends it.
        ids: tokens that end it too.
        are_kept: whether the text that ended it stays a part of it.
    """

    texts: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    are_kept: bool = False

    def cut(self, text: str) -> tuple[str, bool]:
        """The completion up to its end, and whether one of the texts ended it."""
        places = [(text.index(one), len(one)) for one in self.texts if one in text]
        if not places:
            return text, False
        place, length = min(places)
        return text[: place + length if self.are_kept else place], True


NO_STOPS = Stops()


def stops_of(generation_kwargs: object) -> Stops:
    """What vLLM's and transformers' words for it say (`stop`, `stop_strings`, `stop_token_ids`, `eos_token_id`)."""
    if not isinstance(generation_kwargs, Mapping):
        return NO_STOPS
    texts = [*_several(generation_kwargs.get("stop")), *_several(generation_kwargs.get("stop_strings"))]
    ids = [*_several(generation_kwargs.get("stop_token_ids")), *_several(generation_kwargs.get("eos_token_id"))]
    are_kept = "stop_strings" in generation_kwargs or bool(generation_kwargs.get("include_stop_str_in_output"))
    return Stops(tuple(texts), tuple(ids), are_kept)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
