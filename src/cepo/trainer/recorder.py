"""Credit records of a few groups of each step: read off TRL's batch in the step, written beside the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from transformers import PreTrainedTokenizerBase

from cepo.credit.groups import LocalGroups
from cepo.credit.records import RecordMaker, TracedRow, digest, rows_to_record
from cepo.credit.step import StepCredit
from cepo.glossary import DataRow
from cepo.reports.recorder import Recorded, Recorder
from cepo.trainer.batch import Batch
from cepo.trainer.config import CEPOConfig

__all__ = ["StepRecorder"]


@dataclass
class StepRecorder:
    """Chooses the rows of a step to record, and writes their records to `traces/` in the run folder.

    Attributes:
        config: `trace_groups` groups per step, `trace_max_mb` in all.
        tokenizer, image_token_id: see `RecordMaker`.
    """

    config: CEPOConfig
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int | None
    _make: RecordMaker = field(init=False)
    _recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self._make = RecordMaker(self.tokenizer, self.image_token_id)
        self._recorder = Recorder(self.config.run_folder / "traces", self.config.trace_max_mb * 2**20)

    @property
    def wanted(self) -> bool:
        """Whether the run records: the same on every process, whatever became of the records on one."""
        return self.config.trace_groups > 0

    def choose(self, groups: LocalGroups, step: int) -> list[int]:
        """Local rows of a few groups, decided ones first; drawn by step. None once recording has ended."""
        if not self.wanted or not self._recorder.is_open:
            return []
        return rows_to_record(groups, self.config.trace_groups, self.config.seed, step)

    def write(self, inputs: Sequence[DataRow], batch: Batch, step: StepCredit, traced: Sequence[int]) -> None:
        """Append the records of the traced rows with their images."""

        def made() -> Recorded:
            return self._make(step, _rows(inputs, batch, traced)), [_first_image(inputs[row]) for row in traced]

        self._recorder.write(step.step, made)

    def flush(self) -> None:
        """Return once every record is on disk."""
        self._recorder.flush()


def _rows(inputs: Sequence[DataRow], batch: Batch, traced: Sequence[int]) -> list[TracedRow]:
    advantages, is_own = batch.advantages.tolist(), batch.loss_mask[list(traced)].bool().tolist()
    ids = zip(batch.prompts(traced), batch.completions(traced), strict=True)
    return [
        TracedRow(row, _problem_id(inputs[row]), prompt, completion, own, advantages[row])
        for row, (prompt, completion), own in zip(traced, ids, is_own, strict=True)
    ]


def _problem_id(given: DataRow) -> str:
    return str(given.get("id") or digest(given["prompt"]))


def _first_image(row: DataRow) -> Image.Image | None:
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return images[0] if images else None
