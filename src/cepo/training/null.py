"""The null control: evidence of two references that have nothing to do with the problem.

It must be nothing (for RLSD: one such reference against none). What is measured instead is the floor below
which evidence means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from cepo.contexts.references import irrelevant_references
from cepo.training.assign import RowContext
from cepo.types import Group, References

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
    contexts: Mapping[int, RowContext], groups: Mapping[int, Group], count: int, seed: str
) -> dict[int, RowContext]:
    """Up to `count` of the rows with irrelevant references in place of their own; drawn by `seed`."""
    rng = Random(f"null/{seed}")
    rows = sorted(rng.sample(sorted(contexts), min(count, len(contexts))))
    chosen = {}
    for row in rows:
        context = contexts[row]
        others = [group.gold for index, group in groups.items() if index != context.group and group.gold is not None]
        first, second = irrelevant_references(groups[context.group], others, rng)
        references = References(plus=first, minus=(second,), plus_source="gold", minus_source="group")
        chosen[PLACE + row] = replace(context, references=references)
    return chosen


def null_level(contexts: Mapping[int, RowContext], scored: Mapping[tuple[int, str, int], Tensor]) -> NullLevel | None:
    """The level of |Delta| on the completions' tokens; None without a row, or if nothing was finite."""
    parts = []
    for place, context in contexts.items():
        other = "minus" if (place, "minus", 0) in scored else "student"
        evidence_T = scored[place, "plus", 0] - scored[place, other, 0]
        parts.append(evidence_T[: len(context.completion_ids)].abs())
    values = torch.cat(parts) if parts else torch.zeros(0)
    values = values[values.isfinite()]
    if not len(values):
        return None
    return NullLevel(values.median().item(), values.float().quantile(0.9).item())
