"""Says once what trains plain GRPO without a word: rewards that differ where nothing is right by the grader."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from cepo.credit.groups import LocalGroups
from cepo.errors import DataError
from cepo.trainer.batch import Batch
from cepo.trainer.config import CEPOConfig
from cepo.trainer.prompt_host import Rows

__all__ = ["Silence", "check_told"]

PATIENCE = 10
"""Steps in a row with live groups and nothing right."""


@dataclass
class Silence:
    """Counts the steps in which this process's groups differ in reward and none of their rollouts is right."""

    steps: int = 0
    has_spoken: bool = False

    def heard(self, batch: Batch, groups: LocalGroups) -> None:
        if self.has_spoken or not bool(batch.alive().any()):
            return
        some_right = any(rollout.correct for group in groups.groups.values() for rollout in group.rollouts)
        self.steps = 0 if some_right else self.steps + 1
        if self.steps == PATIENCE:
            self.has_spoken = True
            warnings.warn(
                f"for {PATIENCE} steps rewards have differed within groups, but no rollout was right by the grader: no "
                "token gets credit: this is plain GRPO. If a reward decides what is right, name it as wrong_reward; "
                "else see whether answer_format and the answer column fit what the model writes",
                stacklevel=2,
            )


def check_told(rows: Rows, config: CEPOConfig, tells: bool) -> None:
    """A stream's rows have the answers that teachers are told; a data set's are checked before the training.

    Raises:
        DataError: they have not.
    """
    if tells and config.wrong_reward is None and rows and config.answer_column not in rows[0]:
        raise DataError(
            f"the training data has no column {config.answer_column!r} for r+ (a row has {sorted(rows[0])}); set "
            "answer_column, or wrong_reward if a reward decides what is right"
        )
