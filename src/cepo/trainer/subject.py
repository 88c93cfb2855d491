"""What the checks before a run look at: the parts of a run, as the trainer or the doctor has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.rules import Method
from cepo.glossary import DataRow
from cepo.trainer.config import CEPOConfig

__all__ = ["ImageTokens", "Subject"]

ImageTokens = Callable[[Sequence[tuple[int, int]]], Sequence[int] | None]
"""Placeholder tokens of images with these heights and widths; None: the processor does not say."""


def _unknown(sizes: Sequence[tuple[int, int]]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        config, method: what is to be run.
        dataset: the training data; a stream can only be looked at by consuming it, and is not checked.
        prompts: how references are put to teachers.
        prompt_ids: the ids that the prompt of a row will have, images expanded.
        positions: how many tokens the model can hold.
        image_token: the text of the model's image placeholder; None: a model without images.
        image_tokens: how many placeholders an image of some size becomes.
        reward_funcs, reward_names: what grades; functions that are called, in their order.
        trainer_state: handed to reward functions, as TRL does.
    """

    config: CEPOConfig
    method: Method
    dataset: object
    prompts: TeacherPrompts
    prompt_ids: Callable[[DataRow], Sequence[int]]
    positions: int
    image_token: str | None = None
    image_tokens: ImageTokens = _unknown
    reward_funcs: Sequence[object] = ()
    reward_names: Sequence[str] = ()
    trainer_state: object = None
