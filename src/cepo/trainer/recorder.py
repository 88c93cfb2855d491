"""Credit records of a few groups of each step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import LocalGroups, is_decided, unpadded
from cepo.credit.rules import get_method
from cepo.credit.settings import CreditSettings
from cepo.credit.step import CreditedRows
from cepo.glossary import ReferenceForm, References, Told
from cepo.reports.records import STUDENT
from cepo.reports.traces import CreditRecord, TraceWriter
from cepo.trainer.config import CEPOConfig

__all__ = ["StepRecorder", "credit_records"]


class StepRecorder:
    """Chooses the rows of a step to record, and writes their records to `traces/` in the run folder.

    Args:
        config: `trace_groups` groups per step, `trace_max_mb` in all.
        tokenizer: decodes prompts and tokens.
        image_token_id: left out of the prompts' texts.
    """

    def __init__(self, config: CEPOConfig, tokenizer: PreTrainedTokenizerBase, image_token_id: int | None) -> None:
        self.config = config
        self._tokenizer = tokenizer
        self._image_token_id = image_token_id
        self._writer: TraceWriter | None = None

    @property
    def wanted(self) -> bool:
        return self.config.trace_groups > 0

    def choose(self, groups: LocalGroups, step: int, rows: int) -> list[int]:
        """Local rows of a few groups, decided ones first; drawn by step."""
        if not self.wanted:
            return []
        indices = sorted(groups.groups)
        Random(f"traces/{self.config.seed}/{step}").shuffle(indices)
        indices.sort(key=lambda index: not is_decided(groups.groups[index]))
        chosen = set(indices[: self.config.trace_groups])
        return [row for row in range(rows) if groups.group_of(row) in chosen]

    def write(
        self,
        inputs: Sequence[Mapping[str, Any]],
        batch: Mapping[str, Any],
        groups: LocalGroups,
        references: Sequence[References],
        credited: CreditedRows | None,
        traced: Sequence[int],
        step: int,
        strength: float,
    ) -> None:
        """Append the records of the traced rows with their images."""
        if self._writer is None:
            self._writer = TraceWriter(
                self.config.run_folder / "traces",
                resume_step=step - 1,
                max_bytes=self.config.trace_max_mb * 2**20,
            )
        prompts = self._prompts(batch, traced)
        records = credit_records(
            traced,
            {row: str(inputs[row].get("id") or _prompt_id(inputs[row]["prompt"])) for row in traced},
            prompts,
            batch,
            groups,
            references,
            credited,
            self._tokenizer,
            self.config.method,
            step,
            strength,
            self.config.credit,
        )
        self._writer.write_step(records, [_first_image(inputs[row]) for row in traced])

    def _prompts(self, batch: Mapping[str, Any], traced: Sequence[int]) -> dict[int, str]:
        rows = unpadded(batch["prompt_ids"][traced], batch["prompt_mask"][traced])
        kept = [[token for token in row if token != self._image_token_id] for row in rows]
        return dict(zip(traced, map(str, self._tokenizer.batch_decode(kept)), strict=True))


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
    credit: CreditSettings,
) -> list[CreditRecord]:
    """One record for each traced local row; rows without credit carry their base advantage alone."""
    completions = unpadded(batch["completion_ids"], batch["completion_mask"])
    place = {row: index for index, row in enumerate(credited.rows)} if credited else {}
    has_credit = get_method(method).assign is not None
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
                told=_told(references[row], credit.reference_form) if has_credit else {},
                strength=strength,
                clip=credit.credit_clip if has_credit else 0.0,
                dead_zone=credit.dead_zone(measured=None) if has_credit else 0.0,
                **streams,
            )
        )
    return records


def _told(references: References, form: ReferenceForm) -> dict[str, Told]:
    """What each prompt told the row's teacher; a prompt that the method does not read is left out."""
    plus = () if references.plus is None else (references.plus,)
    told = {"plus": Told(plus, references.plus_source, form)}
    if references.minus_source != "unused":
        told["minus"] = Told(references.minus, references.minus_source, form, references.minus_is_own)
    return told


def _streams(credited: CreditedRows, place: int, length: int, references: References) -> dict[str, Any]:
    """Per-token lists of one credited row."""

    def values(stream_BT: Tensor) -> list[float]:
        return stream_BT[place, :length].tolist()

    logps = {STUDENT: values(credited.logps.student_BT), "plus": values(credited.logps.plus_BT)}
    if references.minus:
        logps["minus"] = values(credited.logps.minus_BT)
    return {
        "logps": logps,
        "evidence": values(credited.credit.evidence_BT),
        "weight": values(credited.credit.weight_BT),
        "advantage": values(credited.credit.advantage_BT),
    }


def _prompt_id(prompt: Any) -> str:
    return hashlib.sha256(repr(prompt).encode()).hexdigest()[:16]


def _first_image(row: Mapping[str, Any]) -> Any:
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return images[0] if images else None
