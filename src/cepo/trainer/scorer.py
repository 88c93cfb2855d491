"""Teachers' log-probs of a step, under the teacher's weights, the same number of forwards on every process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cepo.scoring import Forwards, Quantity, ScoreRow, count_forwards, score
from cepo.scoring.weights import Teacher
from cepo.trainer.balance.scoring import score_shared

__all__ = ["Scorer"]


@dataclass(frozen=True, slots=True)
class Scorer:
    """What scoring in a run rests on.

    Attributes:
        policy: gives the model without its distributed wrapper.
        teacher: whose weights score.
        accelerator: of the trainer.
        image_token_id: the placeholder's id; None for text.
        temperature: divides the logits, as in the student's own log-probs.
        precision: of the evidence.
        tokens_per_forward: bounds the memory.
        is_sharded: whether a forward is collective.
        share: whether what a group's prompts have in common is encoded once.
        balance: whether processes take sequences off each other; every call is collective then.
    """

    policy: Callable[[], nn.Module]
    teacher: Teacher
    accelerator: Accelerator
    image_token_id: int | None
    temperature: float
    precision: str
    tokens_per_forward: int
    is_sharded: bool
    share: bool = True
    balance: bool = False

    def __call__(self, sequences: Sequence[ScoreRow], width: int) -> Tensor:
        """Log-probs under the teacher's weights, (N, width), nats; a collective call where weights are sharded, or with
        `balance`."""
        with self.teacher.in_place(self.policy()):
            return self._score(sequences, width, "logp")

    def entropy(self, sequences: Sequence[ScoreRow], width: int) -> Tensor:
        """Entropies under the policy's own weights, (N, width), nats; collective as above."""
        return self._score(sequences, width, "entropy")

    def _score(self, sequences: Sequence[ScoreRow], width: int, quantity: Quantity) -> Tensor:
        score = partial(self._score_here, quantity=quantity)
        return score_shared(sequences, width, score, self.accelerator) if self.balance else score(sequences, width)

    def _score_here(self, sequences: Sequence[ScoreRow], width: int, quantity: Quantity) -> Tensor:
        forwards = self._forwards(sequences) if self.is_sharded else None
        if not sequences and not any(forwards or ()):
            return torch.zeros(0, width, device=self.accelerator.device)
        return score(
            self.policy(),
            sequences,
            width=width,
            temperature=self.temperature,
            tokens_per_forward=self.tokens_per_forward,
            image_token_id=self.image_token_id,
            precision=self.precision,
            forwards=forwards,
            quantity=quantity,
            share=self.share,
        )

    def _forwards(self, sequences: Sequence[ScoreRow]) -> Forwards:
        """The largest count of any process."""
        own = count_forwards(
            self.policy(),
            sequences,
            tokens_per_forward=self.tokens_per_forward,
            image_token_id=self.image_token_id,
            share=self.share,
        )
        everyone = self.accelerator.gather(torch.tensor([own], device=self.accelerator.device))
        return Forwards(*cast(Tensor, everyone).amax(dim=0).tolist())
