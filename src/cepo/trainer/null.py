"""The null control: evidence of two references that have nothing to do with the problem.

It must be nothing (for a rule with one reference: that reference against none). What is measured instead is the
floor below which evidence means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from cepo.credit.groups import LocalGroups
from cepo.credit.references import References, irrelevant_references, teacher_of
from cepo.credit.rules import STUDENT, Rule
from cepo.credit.step import Logps, Row
from cepo.glossary import Told

__all__ = ["Gather", "NullLevel", "has_null", "is_due", "null_level", "null_references"]

Gather = Callable[[list[Any]], list[Any]]
"""Everyone's items, in the order of processes (a collective call)."""


@dataclass(frozen=True, slots=True)
class NullLevel:
    """|Delta| of the null contrast over tokens, nats."""

    median: float
    p90: float

    def metrics(self) -> dict[str, float]:
        return {"credit/null_median": self.median, "credit/null_p90": self.p90}


def is_due(step: int, every: int, steps_per_batch: int) -> bool:
    """Whether what is due at steps 1, 1 + every, ... became due since the last generation, which alone can do it.

    Args:
        step: that generates, from 1.
        every: 0: never.
        steps_per_batch: optimiser steps from one generation to the next, rounded up.
    """
    return every > 0 and (step - 1) // every > (step - 1 - steps_per_batch) // every


def has_null(rule: Rule) -> bool:
    """Whether irrelevant references can stand in for the rule's: the default teacher reads them, and is told some."""
    bare = any(prompt.startswith("bare") for prompt in rule.references)
    return bool(rule.references) and not bare and not any(map(teacher_of, rule.references))


def null_references(
    rule: Rule, rows: Sequence[Row], groups: LocalGroups, count: int, seed: str, gather: Gather
) -> dict[int, References]:
    """This process's part of `count` credited rows of the step, with irrelevant references in place of their own.

    Rows and references are drawn by `seed` and the row: equal on any number of processes.
    """
    draws = {row.index: Random(f"null/{seed}/{groups.first_row + row.index}") for row in rows}
    keys = gather([(rng.random(), groups.first_row + index) for index, rng in draws.items()])
    golds = gather([(index, group.gold) for index, group in groups.groups.items() if group.gold is not None])
    wanted = {row for _, row in sorted(keys)[:count]}
    chosen: dict[int, References] = {}
    for row in rows:
        if groups.first_row + row.index in wanted:
            others = [gold for index, gold in golds if index != row.group]
            first, second = irrelevant_references(groups.groups[row.group], others, draws[row.index])
            texts = [first, *[second] * (len(rule.references) - 1)]
            chosen[row.index] = {
                prompt: Told((text,), "null") for prompt, text in zip(rule.references, texts, strict=True)
            }
    return chosen


def null_level(rule: Rule, rows: Mapping[int, Row], logps: Logps, gather: Gather) -> NullLevel | None:
    """The level of |Delta| on the completions' tokens, over all processes (a collective call); None without any."""
    first, *others = rule.references
    other = others[0] if others else STUDENT
    own: list[float] = []
    for index, of in logps.items():
        evidence_T = of[first] - of[other]
        own += evidence_T[: len(rows[index].completion_ids)].abs().tolist()
    values = torch.tensor([value for value in gather(own) if math.isfinite(value)])
    if not len(values):
        return None
    return NullLevel(values.median().item(), values.quantile(0.9).item())
