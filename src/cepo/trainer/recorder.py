"""Credit records of a few groups of each step: read off in the step, written beside the next ones."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import LocalGroups, is_decided
from cepo.credit.step import StepCredit
from cepo.glossary import DataRow
from cepo.reports.traces import CreditRecord, TraceWriter
from cepo.reports.turns import stretches
from cepo.trainer.background import Background
from cepo.trainer.batch import Batch
from cepo.trainer.config import CEPOConfig

__all__ = ["StepRecorder"]


@dataclass
class StepRecorder:
    """Chooses the rows of a step to record, and writes their records to `traces/` in the run folder.

    Records are encoded and written in a thread, in the order of steps. `flush` waits for it: before a checkpoint is
    whole and at the training's end, so that what a resumed run counts as done is recorded.

    Attributes:
        config: `trace_groups` groups per step, `trace_max_mb` in all.
        tokenizer: decodes prompts and tokens.
        image_token_id: left out of the prompts' texts.
    """

    config: CEPOConfig
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int | None
    _writer: TraceWriter | None = None
    _texts: dict[int, str] = field(default_factory=dict)
    _background: Background = field(default_factory=Background)
    _step: int = 0
    _has_failed: bool = False

    @property
    def wanted(self) -> bool:
        """Whether the run records: the same on every process, whatever became of the records on one."""
        return self.config.trace_groups > 0

    def choose(self, groups: LocalGroups, step: int) -> list[int]:
        """Local rows of a few groups, decided ones first; drawn by step. None once recording has ended."""
        if not self.wanted or self._has_failed or (self._writer is not None and not self._writer.active):
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
        self._guarded(lambda: self._start(inputs, batch, step, traced))

    def flush(self) -> None:
        """Return once every record is on disk."""
        self._guarded(self._background.wait)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._has_failed = True
            warnings.warn(
                f"the credit of step {self._step} could not be recorded, and no later step's will be; the run goes on: "
                f"{type(error).__name__}: {error}",
                stacklevel=3,
            )

    def _start(self, inputs: Sequence[DataRow], batch: Batch, step: StepCredit, traced: Sequence[int]) -> None:
        self._background.wait()
        self._step = step.step
        if self._writer is None:
            self._writer = TraceWriter(
                self.config.run_folder / "traces",
                resume_step=step.step - 1,
                max_bytes=self.config.trace_max_mb * 2**20,
            )
        records = self._records(inputs, batch, step, traced)
        images = [_first_image(inputs[row]) for row in traced]
        self._background.start(partial(self._writer.write_step, records, images))

    def _records(
        self, inputs: Sequence[DataRow], batch: Batch, step: StepCredit, traced: Sequence[int]
    ) -> list[CreditRecord]:
        """Plain data: nothing of it changes once training goes on."""
        places = {row: place for place, row in enumerate(step.rows)}
        advantages = batch.advantages.tolist()
        prompts, read = batch.prompts(traced), {}
        records = []
        counted = batch.loss_mask[list(traced)].bool().tolist()
        for row, prompt_ids, ids, is_own in zip(traced, prompts, batch.completions(traced), counted, strict=True):
            key = tuple(prompt_ids)  # the rows of a group have one prompt
            if key not in read:
                shown = [token for token in prompt_ids if token != self.image_token_id]
                read[key] = str(self.tokenizer.decode(shown))
            streams = _streams(step, row, places.get(row), len(ids), advantages[row])
            streams["said_by_tools"] = stretches([not own for own in is_own[: len(ids)]])
            records.append(self._record(inputs[row], row, read[key], ids, step, advantages[row], streams))
        return records

    def _record(
        self,
        given: DataRow,
        row: int,
        prompt_text: str,
        ids: Sequence[int],
        step: StepCredit,
        base: float,
        streams: Mapping[str, Any],
    ) -> CreditRecord:
        rollout, group = step.groups.rollout(row), step.groups.group_of(row)
        return CreditRecord(
            step=step.step,
            problem_id=str(given.get("id") or _prompt_id(given["prompt"])),
            row=step.groups.first_row + row,
            group=group,
            method=step.name,
            prompt_text=prompt_text,
            tokens=[self._text(token) for token in ids],
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
            **streams,
        )

    def _text(self, token: int) -> str:
        """Of one token; a tokenizer takes long to say it."""
        if token not in self._texts:
            self._texts[token] = str(self.tokenizer.decode([token]))
        return self._texts[token]


def _streams(step: StepCredit, row: int, place: int | None, length: int, base: float) -> dict[str, Any]:
    """Per-token lists of one row, which stands at `place` among those with credit; where no reference is told, a
    prompt's log-probs are the student's and left out."""
    if step.credit is None or place is None:
        return {"advantage": base}

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
