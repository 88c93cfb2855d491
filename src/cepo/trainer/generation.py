"""What goes into generation, and what must not come out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

__all__ = ["as_parts", "never_sample_an_image", "unfilled_images"]


def unfilled_images(prompt: Sequence[Mapping[str, Any]]) -> int:
    """Image parts of the messages that wait for an image from the row's own column."""
    parts = [part for message in prompt for part in message.get("content") or [] if isinstance(part, Mapping)]
    return sum(part.get("type") == "image" and "image" not in part for part in parts)


def as_parts(prompt: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages in parts, as a vision model's chat template wants them, without their images: for text alone."""
    return prepare_multimodal_messages(cast(Any, prompt), images=[None] * unfilled_images(prompt))


def never_sample_an_image(trainer: GRPOTrainer, image_token_id: int | None) -> None:
    """Ban the image placeholder from completions: the next forward would look for an image behind it, and fail.

    TRL bans it in transformers' generation, unless the user lists other tokens to suppress, and not in vLLM. Where
    TRL bans it nothing changes. None: a model without images. Other vision tokens (`<|vision_start|>`,
    `<|video_pad|>`) are text to the forward and stay.
    """
    if image_token_id is None:
        return
    if trainer.use_vllm:
        options: dict[str, Any] = trainer.vllm_generation.generation_kwargs
        options["bad_words"] = [*(options.get("bad_words") or []), cast(Any, trainer.processing_class).image_token]
    else:
        options = trainer.generation_kwargs
        options["suppress_tokens"] = sorted({*(options.get("suppress_tokens") or []), image_token_id})
        trainer.generation_config.suppress_tokens = options["suppress_tokens"]
