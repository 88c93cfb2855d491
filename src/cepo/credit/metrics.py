"""What is logged of a step's credit: sums that add over processes, and the metrics that they make."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cepo.credit.diagnostics import credit_sums, summarise
from cepo.credit.groups import is_decided
from cepo.credit.step import StepCredit
from cepo.glossary import Rollout

__all__ = ["credit_metrics", "step_sums"]

# Per row: divided by the number of rows. Per group: divided by the number of groups.
_ROWS = ("rows_scored", "rows_nonfinite", "rows_fallback", "rows_minus_own", "rows_plus_sibling", "rows_no_plus")
_GROUPS = ("groups_undecided", "groups_no_minus")


def step_sums(step: StepCredit, advantage_B: Tensor, mask_BT: Tensor) -> Tensor:
    """One process's part of a step, (S,) float64, additive over processes: numbers of rows and of groups, then
    `credit_sums`.

    Args:
        advantage_B, mask_BT: of all local rows: A before credit, and the tokens that the loss counts.
    """
    evidence_BT = torch.zeros(mask_BT.shape, device=mask_BT.device)
    advantage_B = advantage_B.float()
    token_advantage_BT = advantage_B[:, None].expand(mask_BT.shape).clone()
    credited_B = torch.zeros(len(mask_BT), dtype=torch.bool, device=mask_BT.device)
    if step.credit is not None:
        rows = list(step.rows)
        evidence_BT[rows] = step.credit.evidence_BT
        token_advantage_BT[rows] = step.credit.advantage_BT.float()
        credited_B[rows] = True
    sums = credit_sums(advantage_B, evidence_BT, token_advantage_BT, mask_BT, credited_B, step.knobs.clip)
    counts = torch.tensor([*_row_counts(step), *_group_counts(step)], dtype=torch.float64, device=mask_BT.device)
    return torch.cat([counts, sums])


def _row_counts(step: StepCredit) -> list[int]:
    told = [list(references.values()) for references in step.references.values()]
    return [
        len(told),
        step.scored,
        step.nonfinite,
        sum(any(not one.texts and one.source in ("rlsd", "grpo") for one in row) for row in told),
        sum(any(one.is_own for one in row) for row in told),
        sum(any(one.source == "sibling" for one in row) for row in told),
        sum(any(one.source == "none" for one in row) for row in told),
    ]


def _group_counts(step: StepCredit) -> list[int]:
    """A group counts where its first row lies, once."""
    groups = [step.groups.groups[group] for group, place in step.groups.places.values() if place == 0]
    return [
        len(groups),
        sum(not is_decided(group) for group in groups),
        sum(_has_no_wrong(group.rollouts) for group in groups),
    ]


def credit_metrics(totals: Tensor) -> dict[str, float]:
    """The loggable numbers of `step_sums`, added over processes."""
    split = 2 + len(_ROWS) + len(_GROUPS)
    rows, *rest = totals[:split].tolist()
    per_row, (groups, *per_group) = rest[: len(_ROWS)], rest[len(_ROWS) :]
    metrics = summarise(totals[split:])
    metrics |= {f"credit/{name}": value / rows for name, value in zip(_ROWS, per_row, strict=True)}
    metrics |= {f"credit/{name}": value / max(groups, 1) for name, value in zip(_GROUPS, per_group, strict=True)}
    return metrics


def _has_no_wrong(rollouts: Sequence[Rollout]) -> bool:
    return not any(rollout.correct is False and rollout.answer is not None for rollout in rollouts)
