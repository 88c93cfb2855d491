"""Credit records of the traced rows of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cepo.traces import CreditRecord
from cepo.training.assign import CreditedRows
from cepo.training.rollouts import LocalGroups, unpadded
from cepo.types import References

__all__ = ["credit_records"]


def credit_records(
    traced: Sequence[int],
    problem_ids: Mapping[int, str],
    prompt_texts: Mapping[int, str],
    batch: Mapping[str, Any],
    groups: LocalGroups,
    references: Sequence[References],
    credited: CreditedRows | None,
    tokenizer: PreTrainedTokenizerBase,
    method: str,
    step: int,
    strength: float,
    clip: float,
) -> list[CreditRecord]:
    """One record for each traced local row; rows without credit carry their base advantage alone."""
    completions = unpadded(batch["completion_ids"], batch["completion_mask"])
    place = {row: index for index, row in enumerate(credited.rows)} if credited else {}
    records = []
    for row in traced:
        group = groups.group_of(row)
        rollout = groups.groups[group].rollouts[groups.place_in_group(row)]
        ids = completions[row]
        streams: dict[str, Any] = {"advantage": float(batch["advantages"][row])}
        if credited is not None and row in place:
            streams = _streams(credited, place[row], len(ids), references[row])
        records.append(
            CreditRecord(
                step=step,
                problem_id=problem_ids[row],
                row=groups.first_row + row,
                group=group,
                method=method,
                prompt_text=prompt_texts[row],
                tokens=[str(tokenizer.decode([token])) for token in ids],
                token_ids=ids,
                base_advantage=float(batch["advantages"][row]),
                reward=rollout.reward,
                correct=rollout.correct,
                answer=rollout.answer,
                gold=groups.groups[group].gold,
                r_plus=references[row].plus,
                r_minus=references[row].minus,
                plus_source=references[row].plus_source,
                minus_source=references[row].minus_source,
                strength=strength,
                clip=clip,
                **streams,
            )
        )
    return records


def _streams(credited: CreditedRows, place: int, length: int, references: References) -> dict[str, Any]:
    """Per-token lists of one credited row."""

    def values(stream_BT: Tensor) -> list[float]:
        return stream_BT[place, :length].tolist()

    return {
        "logp_plus": values(credited.logps.plus_BT),
        "logp_minus": values(credited.logps.minus_BT) if references.minus else None,
        "logp_student": values(credited.logps.student_BT),
        "evidence": values(credited.credit.evidence_BT),
        "weight": values(credited.credit.weight_BT),
        "advantage": values(credited.credit.advantage_BT),
    }
