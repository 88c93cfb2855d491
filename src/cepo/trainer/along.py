"""What a teacher needs while training runs: a probe of sharded weights before it, an EMA copy moved in it."""

from __future__ import annotations

from typing import Protocol

from torch import nn
from transformers import TrainerCallback

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
    """Probes sharded weights before the first step (they are whole in no earlier place); moves an EMA teacher after
    each."""

    def __init__(self, trainer: Asker) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if self.trainer.weights_are_sharded:
            self.trainer.probe()

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self.trainer.teacher.after_step(self.trainer.policy)
