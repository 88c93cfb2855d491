"""What must not be sampled."""

from __future__ import annotations

from typing import Any, cast

from trl import GRPOTrainer

__all__ = ["never_sample_an_image"]


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
