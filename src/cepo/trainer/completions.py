"""Columns of credit in the table of completions that TRL writes to a file and to trackers that have tables."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from cepo.credit.step import StepCredit
from cepo.trainer.batch import Batch

__all__ = ["STRONGEST", "credit_columns"]

STRONGEST = 8
"""Tokens of a completion that are shown with their evidence."""


def credit_columns(
    batch: Batch, prompts: tuple[str, ...], step: StepCredit | None, tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[str | None]]:
    """`r_NAME` for each prompt that holds a reference, and `evidence`: the strongest tokens in their order, nats.

    None: a row without credit.
    """
    names = {prompt: f"r_{prompt}" for prompt in prompts}
    columns: dict[str, list[str | None]] = {name: [None] * len(batch) for name in (*names.values(), "evidence")}
    if step is None or step.credit is None:
        return columns
    completions = batch.completions()
    for row, evidence_T in zip(step.rows, step.credit.evidence_BT, strict=True):
        own = completions[row]
        places = sorted(evidence_T[: len(own)].abs().topk(min(STRONGEST, len(own))).indices.tolist())
        tokens = [f"{tokenizer.decode([own[place]])!r} {evidence_T[place].item():+.2f}" for place in places]
        for prompt, name in names.items():
            columns[name][row] = " | ".join(step.references[row][prompt].texts)
        columns["evidence"][row] = ", ".join(tokens)
    return columns
