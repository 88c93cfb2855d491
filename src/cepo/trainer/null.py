"""The null control: evidence of two references that have nothing to do with the problem.

It must be nothing (for RLSD: one such reference against none). What is measured instead is the floor below
which evidence means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import torch
from accelerate.utils import gather_object
from torch import Tensor

from cepo.credit.groups import LocalGroups
from cepo.credit.references import irrelevant_references
from cepo.credit.step import RowContext
from cepo.glossary import References

__all__ = ["NullLevel", "null_contexts", "null_level"]

PLACE = 1_000_000
"""Added to a row's index: a null contrast stands beside the row's own in one call of `score`."""


@dataclass(frozen=True, slots=True)
class NullLevel:
    """|Delta| of the null contrast over tokens, nats."""

    median: float
    p90: float

    def metrics(self) -> dict[str, float]:
        return {"credit/null_median": self.median, "credit/null_p90": self.p90}


def null_contexts(
    contexts: Mapping[int, RowContext], groups: LocalGroups, count: int, seed: str
) -> dict[int, RowContext]:
    """This process's part of `count` credited rows of the step, with irrelevant references in place of their own.

    A collective call. Rows and references are drawn by `seed` and the row: equal on any number of processes.
    """
    draws = {row: Random(f"null/{seed}/{groups.first_row + row}") for row in contexts}
    keys = gather_object([(rng.random(), groups.first_row + row) for row, rng in draws.items()])
    golds = gather_object([(index, group.gold) for index, group in groups.groups.items() if group.gold is not None])
    wanted = {row for _, row in sorted(keys)[:count]}
    chosen = {}
    for row, context in contexts.items():
        if groups.first_row + row not in wanted:
            continue
        others = [gold for index, gold in golds if index != context.group]
        first, second = irrelevant_references(groups.groups[context.group], others, draws[row])
        references = References(plus=first, minus=(second,), plus_source="gold", minus_source="group")
        chosen[PLACE + row] = replace(context, references=references)
    return chosen


def null_level(contexts: Mapping[int, RowContext], scored: Mapping[tuple[int, str, int], Tensor]) -> NullLevel | None:
    """The level of |Delta| on the completions' tokens, over all processes (a collective call); None without any."""
    own: list[float] = []
    for place, context in contexts.items():
        other = "minus" if (place, "minus", 0) in scored else "student"
        evidence_T = scored[place, "plus", 0] - scored[place, other, 0]
        own += evidence_T[: len(context.completion_ids)].abs().tolist()
    values = torch.tensor([value for value in gather_object(own) if math.isfinite(value)])
    if not len(values):
        return None
    return NullLevel(values.median().item(), values.quantile(0.9).item())
