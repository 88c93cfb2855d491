"""Places of a solution at which the steps of a problem stand."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mark"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters [start, end) of a text, which say something that is right or wrong.

    Attributes:
        step: the step, from 0, that is settled once this place is right; -1: none yet.
        cause: what went wrong where it is wrong, in the problem's own words.
        restates: whether it only says again what stands before it.
    """

    start: int
    end: int
    is_right: bool
    step: int
    cause: str = ""
    restates: bool = False
