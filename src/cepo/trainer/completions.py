"""Columns of credit in the table of completions that TRL writes to a file and to trackers that have tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import unpadded
from cepo.credit.step import CreditedRows
from cepo.glossary import References

__all__ = ["STRONGEST", "credit_columns"]

STRONGEST = 8
"""Tokens of a completion that are shown with their evidence."""


def credit_columns(
    rows: int,
    batch: Mapping[str, Any],
    credited: CreditedRows | None,
    references: Sequence[References],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, list[str | None]]:
    """`r_plus`, `r_minus`, and `evidence`: the strongest tokens in their order, nats. None: a row without credit."""
    columns: dict[str, list[str | None]] = {name: [None] * rows for name in ("r_plus", "r_minus", "evidence")}
    if credited is None or not credited.rows:
        return columns
    ids = unpadded(batch["completion_ids"][credited.rows], batch["completion_mask"][credited.rows])
    for row, own, evidence_T in zip(credited.rows, ids, credited.credit.evidence_BT, strict=True):
        strength_T = evidence_T[: len(own)].abs()
        places = sorted(strength_T.topk(min(STRONGEST, len(own))).indices.tolist())
        tokens = [f"{tokenizer.decode([own[place]])!r} {evidence_T[place].item():+.2f}" for place in places]
        columns["r_plus"][row] = references[row].plus
        columns["r_minus"][row] = " | ".join(references[row].minus)
        columns["evidence"][row] = ", ".join(tokens)
    return columns
