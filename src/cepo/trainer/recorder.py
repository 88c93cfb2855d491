"""Credit records of a few groups of each step."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import LocalGroups, is_decided
from cepo.credit.step import StepCredit
from cepo.glossary import DataRow
from cepo.reports.traces import CreditRecord, TraceWriter
from cepo.trainer.batch import Batch
from cepo.trainer.config import CEPOConfig

__all__ = ["StepRecorder"]


@dataclass
class StepRecorder:
    """Chooses the rows of a step to record, and writes their records to `traces/` in the run folder.

    Attributes:
        config: `trace_groups` groups per step, `trace_max_mb` in all.
        tokenizer: decodes prompts and tokens.
        image_token_id: left out of the prompts' texts.
    """

    config: CEPOConfig
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int | None
    _writer: TraceWriter | None = None
    _has_failed: bool = False

    @property
    def wanted(self) -> bool:
        return self.config.trace_groups > 0 and not self._has_failed

    def choose(self, groups: LocalGroups, step: int) -> list[int]:
        """Local rows of a few groups, decided ones first; drawn by step."""
        if not self.wanted:
            return []
        indices = sorted(groups.groups)
        Random(f"traces/{self.config.seed}/{step}").shuffle(indices)
        indices.sort(key=lambda index: not is_decided(groups.groups[index]))
        chosen = set(indices[: self.config.trace_groups])
        return [row for row in groups.places if groups.group_of(row) in chosen]

    def write(self, inputs: Sequence[DataRow], batch: Batch, step: StepCredit, traced: Sequence[int]) -> None:
        """Append the records of the traced rows with their images; rows without credit carry their base advantage.

        What cannot be written is said once and ends the records, not the run.
        """
        try:
            self._write(inputs, batch, step, traced)
        except Exception as error:
            self._has_failed = True
            warnings.warn(
                f"the credit of step {step.step} could not be recorded, and no later step's will be; the run goes on: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )

    def _write(self, inputs: Sequence[DataRow], batch: Batch, step: StepCredit, traced: Sequence[int]) -> None:
        if self._writer is None:
            self._writer = TraceWriter(
                self.config.run_folder / "traces",
                resume_step=step.step - 1,
                max_bytes=self.config.trace_max_mb * 2**20,
            )
        prompts, completions = batch.prompts(), batch.completions()
        records = [self._record(inputs[row], row, prompts[row], completions[row], batch, step) for row in traced]
        self._writer.write_step(records, [_first_image(inputs[row]) for row in traced])

    def _record(
        self,
        given: DataRow,
        row: int,
        prompt_ids: Sequence[int],
        ids: Sequence[int],
        batch: Batch,
        step: StepCredit,
    ) -> CreditRecord:
        rollout, group = step.groups.rollout(row), step.groups.group_of(row)
        base = float(batch.advantages[row])
        shown = [token for token in prompt_ids if token != self.image_token_id]
        return CreditRecord(
            step=step.step,
            problem_id=str(given.get("id") or _prompt_id(given["prompt"])),
            row=step.groups.first_row + row,
            group=group,
            method=step.name,
            prompt_text=str(self.tokenizer.decode(shown)),
            tokens=[str(self.tokenizer.decode([token])) for token in ids],
            token_ids=list(ids),
            base_advantage=base,
            reward=rollout.reward,
            correct=rollout.correct,
            answer=rollout.answer,
            gold=step.groups.groups[group].gold,
            told=dict(step.references[row]),
            strength=step.knobs.strength,
            clip=step.knobs.clip,
            dead_zone=step.knobs.dead_zone,
            **_streams(step, row, len(ids), base),
        )


def _streams(step: StepCredit, row: int, length: int, base: float) -> dict[str, Any]:
    """Per-token lists of one row; where no reference is told, a prompt's log-probs are the student's and left out."""
    if step.credit is None or row not in step.rows:
        return {"advantage": base}
    place = list(step.rows).index(row)

    def values(stream_T: Tensor) -> list[float]:
        return stream_T[:length].tolist()

    told = step.references[row]
    logps = {
        prompt: values(logp_T) for prompt, logp_T in step.logps[row].items() if prompt not in told or told[prompt].texts
    }
    credit = step.credit
    return {
        "logps": logps,
        "evidence": values(credit.evidence_BT[place]),
        "weight": values(credit.weight_BT[place]),
        "advantage": values(credit.advantage_BT[place]),
    }


def _prompt_id(prompt: object) -> str:
    return hashlib.sha256(repr(prompt).encode()).hexdigest()[:16]


def _first_image(row: DataRow) -> Image.Image | None:
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return images[0] if images else None
