"""Credit by turn, where tools or an environment spoke within a completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from cepo.reports.records import CreditRecord

__all__ = ["Turn", "stretches", "turns_of"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the model's: its tokens are those from `start` up to `end`.

    `advantage`: mean A_hat of its tokens; `evidence`: the largest |Delta| in it, nats, None where none was recorded.
    """

    number: int
    start: int
    end: int
    advantage: float
    evidence: float | None

    @property
    def words(self) -> str:
        """In a few words, for a page or a terminal."""
        evidence = "" if self.evidence is None else f", evidence up to {self.evidence:.2f} nats"
        return f"turn {self.number}: {self.end - self.start} tokens, mean advantage {self.advantage:+.3f}{evidence}"


def turns_of(record: CreditRecord) -> list[Turn]:
    """The model's turns in order; [] where nobody else spoke."""
    if not record.said_by_tools:
        return []
    edges = [0, *(edge for span in record.said_by_tools for edge in span), len(record.tokens)]
    own = [span for place, span in enumerate(pairwise(edges)) if place % 2 == 0 and span[0] < span[1]]
    return [_turn(record, number, *span) for number, span in enumerate(own, 1)]


def _turn(record: CreditRecord, number: int, start: int, end: int) -> Turn:
    given = record.advantage
    advantage = sum(given[start:end]) / (end - start) if isinstance(given, list) else given
    evidence = None if record.evidence is None else max(map(abs, record.evidence[start:end]))
    return Turn(number, start, end, advantage, evidence)


def stretches(is_theirs_T: Sequence[bool]) -> list[list[int]]:
    """[start, end) of each run of True: `said_by_tools` of a record."""
    found, start = [], 0
    for is_theirs, run in groupby(is_theirs_T):
        end = start + len(list(run))
        found += [[start, end]] if is_theirs else []
        start = end
    return found
