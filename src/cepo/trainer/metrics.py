"""What is logged of a step's credit: sums that add over processes, and the metrics that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cepo.credit.diagnostics import credit_sums, summarise
from cepo.credit.groups import LocalGroups, is_decided
from cepo.credit.step import CreditedRows
from cepo.glossary import References, Rollout

__all__ = ["CreditCount", "credit_metrics", "loss_mask"]

# Per row: divided by the number of rows. Per group: divided by the number of groups.
_ROWS = ("rows_scored", "rows_nonfinite", "rows_fallback", "rows_minus_own", "rows_plus_sibling", "rows_no_plus")
_GROUPS = ("groups_undecided", "groups_no_minus")


def loss_mask(batch: Mapping[str, Any]) -> Tensor:
    """Tokens that TRL's loss counts, (B, T)."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


@dataclass(frozen=True)
class CreditCount:
    """One process's part of a step: its batch, groups and references, and the credit that was given."""

    batch: Mapping[str, Any]
    groups: LocalGroups
    references: Sequence[References]
    scored: int
    credited: CreditedRows | None
    strength: float
    clip: float

    def sums(self) -> Tensor:
        """Additive over processes, (S,) float64: `credit_sums`, then the numbers of rows and groups."""
        mask = loss_mask(self.batch)
        evidence_BT = torch.zeros(mask.shape, device=mask.device)
        credited_B = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
        if self.credited is not None and self.credited.rows:
            evidence_BT[self.credited.rows] = self.credited.credit.evidence_BT
            credited_B[self.credited.rows] = True
        advantage_B = self.batch["advantages"].float()
        sums = credit_sums(advantage_B, evidence_BT, mask, credited_B, self.strength, self.clip)
        counts = torch.tensor([*self._rows(), *self._groups()], dtype=torch.float64, device=mask.device)
        return torch.cat([counts, sums])

    def _rows(self) -> list[int]:
        references = self.references
        return [
            len(references),
            self.scored,
            self.credited.nonfinite if self.credited else 0,
            sum(reference.minus_source in ("rlsd", "grpo") for reference in references),
            sum(reference.minus_is_own for reference in references),
            sum(reference.plus_source == "sibling" for reference in references),
            sum(reference.plus_source == "none" for reference in references),
        ]

    def _groups(self) -> list[int]:
        """A group counts where its first row lies, once."""
        rows = range(len(self.references))
        first_here = [self.groups.group_of(row) for row in rows if self.groups.place_in_group(row) == 0]
        groups = [self.groups.groups[index] for index in first_here]
        return [
            len(groups),
            sum(not is_decided(group) for group in groups),
            sum(_has_no_wrong(group.rollouts) for group in groups),
        ]


def credit_metrics(totals: Tensor) -> dict[str, float]:
    """The loggable numbers of `CreditCount.sums`, added over processes."""
    split = 2 + len(_ROWS) + len(_GROUPS)
    rows, *rest = totals[:split].tolist()
    per_row, (groups, *per_group) = rest[: len(_ROWS)], rest[len(_ROWS) :]
    metrics = summarise(totals[split:])
    metrics |= {f"credit/{name}": value / rows for name, value in zip(_ROWS, per_row, strict=True)}
    metrics |= {f"credit/{name}": value / max(groups, 1) for name, value in zip(_GROUPS, per_group, strict=True)}
    return metrics


def _has_no_wrong(rollouts: Sequence[Rollout]) -> bool:
    return not any(rollout.correct is False and rollout.answer is not None for rollout in rollouts)
