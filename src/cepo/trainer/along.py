"""What a teacher needs while training runs: its copies at their steps, and a probe of sharded weights before them."""

from __future__ import annotations

from typing import Protocol

from torch import nn
from transformers import TrainerCallback, TrainerState

from cepo.scoring.weights import Teacher

__all__ = ["AlongTraining"]


class Asker(Protocol):
    """A trainer that asks a teacher."""

    teacher: Teacher

    @property
    def policy(self) -> nn.Module: ...

    @property
    def weights_are_sharded(self) -> bool: ...

    def probe(self) -> None: ...


class AlongTraining(TrainerCallback):
    """Copies (`synced`) before an optimiser step and moves a copy (`ema`) after it, whether or not the step asks it.

    Where weights are sharded they are so from here on: the first copy is taken and probed before the first step.
    """

    def __init__(self, trainer: Asker) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if self.trainer.weights_are_sharded:
            self.trainer.teacher.start(self.trainer.policy)
            self.trainer.probe()

    def on_step_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        self.trainer.teacher.before_step(self.trainer.policy, state.global_step + 1)

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self.trainer.teacher.after_step(self.trainer.policy)
