"""Which problems a step trains on: as they come, without those that rest, and with others in place of some groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor

from cepo.errors import SettingError
from cepo.trainer.config import CEPOConfig
from cepo.trainer.curriculum import COLUMN, Curriculum
from cepo.trainer.prompt_host import Rows
from cepo.trainer.resample import Band, Drawn, Resampler

__all__ = ["Sampling", "check_band", "with_row_numbers"]


@dataclass(slots=True)
class Sampling:
    """What a run's choice of problems rests on.

    Attributes:
        config, dataset, accelerator: of the trainer.
        pad_id: fills up what is merged.
        total: rewards (B, R) to totals (B,).
        verdicts: whether each row of a generation is right.
        log: a metric's name and value.
    """

    config: CEPOConfig
    dataset: object
    accelerator: Accelerator
    pad_id: int
    total: Callable[[Tensor], Tensor]
    verdicts: Callable[[Drawn], Sequence[bool | None]]
    log: Callable[[str, float], None]
    curriculum: Curriculum | None = None
    band: Band | None = None

    def __post_init__(self) -> None:
        config = self.config
        low, high = config.pass_rate_low, config.pass_rate_high
        if config.curriculum_rest:
            self.curriculum = Curriculum(config.curriculum_rest, low, high, len(cast(Dataset, self.dataset)))
        if config.resample_dead_groups and config.has_band:
            self.band = Band(low, high, self.verdicts)

    def __call__(self, inputs: Rows, generate: Callable[[Rows], Drawn], done: int) -> Drawn:
        """The rollouts of a step, `done` optimiser steps having been made (a collective call)."""

        def noted(rows: Rows) -> Drawn:
            drawn = generate(rows)
            self._note(drawn, done + 1)
            return drawn

        seed = f"{self.config.seed}/{done}"
        found = noted(self._awake(inputs, done + 1))
        if not self.config.resample_dead_groups:
            return found
        resampler = Resampler(
            tries=self.config.resample_dead_groups,
            dataset=cast(Dataset, self.dataset),
            group_size=self.config.group_size,
            pad_id=self.pad_id,
            accelerator=self.accelerator,
            generate=noted,
            total=self.total,
            log=self.log,
            band=self.band,
            among=self.curriculum.awake(done + 1) if self.curriculum else None,
        )
        return resampler(found, seed)

    def _awake(self, inputs: Rows, step: int) -> Rows:
        """The rows with problems that rest replaced."""
        if self.curriculum is None:
            return inputs
        size, dataset = self.config.group_size, cast(Dataset, self.dataset)
        own = [int(row[COLUMN]) for row in inputs[::size]]
        planned = self._everywhere(own)
        swapped = self.curriculum.swapped(planned, step, str(self.config.seed))
        first = self.accelerator.process_index * len(own)
        self.log("curriculum/groups_swapped", float(len(swapped)))
        self.log("curriculum/problems_resting", float(len(self.curriculum.resting(step))))
        fresh = {place: dataset[swapped[first + place]] for place in range(len(own)) if first + place in swapped}
        return [fresh.get(row // size, given) for row, given in enumerate(inputs)]

    def _note(self, drawn: Drawn, step: int) -> None:
        if self.curriculum is not None:
            size, right = self.config.group_size, self.verdicts(drawn)
            groups = range(0, len(right), size)
            own = [
                (int(drawn.inputs[row][COLUMN]), sum(one is True for one in right[row : row + size]) / size)
                for row in groups
            ]
            self.curriculum.note(self._everywhere(own), step)

    def _everywhere(self, own: list[Any]) -> list[Any]:
        return gather_object(own) if self.accelerator.num_processes > 1 else own

    def save(self, folder: Path, step: int) -> None:
        if self.curriculum is not None and self.config.should_save:
            self.curriculum.save(folder, step)

    def load(self, folder: Path) -> None:
        if self.curriculum is not None:
            self.curriculum.load(folder)


def check_band(config: CEPOConfig, dataset: object) -> None:
    """The band of pass rates has something to act on, can be met, and somebody says what is right.

    Raises:
        SettingError: with what is missing.
    """
    low, high, size = config.pass_rate_low, config.pass_rate_high, config.group_size
    shown = f"pass_rate_low={low}, pass_rate_high={high}"
    if not 0.0 <= low <= high <= 1.0:
        raise SettingError(f"{shown}: a band of pass rates lies in [0, 1], its lower end first")
    if not config.has_band:
        if config.curriculum_rest:
            raise SettingError(
                f"curriculum_rest={config.curriculum_rest} lets problems outside of a band of pass rates rest: set "
                "pass_rate_low and pass_rate_high, such as 0.1 and 0.9"
            )
        return
    if not config.resample_dead_groups and not config.curriculum_rest:
        raise SettingError(f"{shown} has nothing to act on: set resample_dead_groups, curriculum_rest or both")
    if not any(low <= right / size <= high for right in range(size + 1)):
        raise SettingError(f"{shown}: no pass rate of groups of {size} lies between them; widen the band")
    columns = dataset.column_names if isinstance(dataset, Dataset) else ()
    if config.wrong_reward is None and config.answer_column not in columns:
        raise SettingError(
            f"{shown} needs to know what is right: the training data has no column {config.answer_column!r}; set "
            "answer_column, or wrong_reward if a reward decides"
        )


def with_row_numbers(dataset: Any) -> Any:
    """The data with each row's index, by which a curriculum knows it."""
    if isinstance(dataset, Dataset) and COLUMN not in dataset.column_names:
        return dataset.add_column(COLUMN, list(range(len(dataset))))  # pyright: ignore[reportCallIssue]
    return dataset
