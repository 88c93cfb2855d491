"""A model that reads its padding is refused: rows that are dealt get another width."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from transformers import TrainerCallback

from cepo.errors import SettingError
from cepo.scoring import ScoreRow
from cepo.scoring.models import causal_model
from cepo.scoring.probe import padding_moves

__all__ = ["PaddingCheck"]

MORE = 8
"""Columns of padding that are put before a row."""


class PaddingCheck(TrainerCallback):
    """Called before a run; as a callback where weights are sharded, which no process can run until training begins."""

    def __init__(self, policy: Callable[[], nn.Module], text: ScoreRow) -> None:
        self.policy, self.text = policy, text

    def __call__(self) -> None:
        """Raise SettingError where log-probs change behind padding, as TRL's update pads: positions are not passed, and
        those that are learnt are counted from the first column."""
        model = self.policy()
        if (moved := padding_moves(model, self.text, MORE)) is not None:
            raise SettingError(
                f"balance_batch=True gives rows other padding, and {type(causal_model(model)).__name__} reads it: its "
                f"log-probs behind {MORE} columns of it differ by up to {moved:.1e} nats; leave balance_batch out"
            )

    def on_train_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self()
