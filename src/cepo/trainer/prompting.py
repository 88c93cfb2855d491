"""How a trainer's teachers are prompted: its tokenizer, its chat template, its settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from transformers import PreTrainedTokenizerBase

from cepo.credit.prompts import RATIONALE_TEMPLATE, TeacherPrompts
from cepo.trainer.distillation import Distillation
from cepo.trainer.generation import as_parts

if TYPE_CHECKING:
    from cepo.trainer.trainer import CEPOTrainer

__all__ = ["credit_prompts", "distillation_of"]


def credit_prompts(trainer: CEPOTrainer) -> TeacherPrompts:
    """Of the teachers of token-level credit."""
    settings = trainer.credit
    template = settings.reference_template
    if template is None and settings.reference_form == "rationale" and settings.prompt_style == "user":
        template = RATIONALE_TEMPLATE
    return _prompts(trainer)(template=template)


def distillation_of(trainer: CEPOTrainer) -> Distillation:
    """The objective of OPSD and SDPO, whose teachers may read whole solutions.

    Raises:
        ValueError: the weights are sharded (ZeRO-3, FSDP).
    """
    if trainer._weights_are_sharded:
        raise ValueError(f"method={trainer.method.name!r} reads the output layer apart: use DDP or ZeRO-2, not shards")
    settings = trainer.credit
    prompts = _prompts(trainer)
    return Distillation(
        method=trainer.method,
        settings=settings,
        teacher=trainer.teacher,
        answers=prompts(template=settings.reference_template),
        solutions=prompts(template=RATIONALE_TEMPLATE if settings.prompt_style == "user" else None),
        accelerator=trainer.accelerator,
        image_token_id=trainer._image_token_id,
        temperature=trainer.temperature,
    )


def _prompts(trainer: CEPOTrainer) -> partial[TeacherPrompts]:
    tokenizer = cast(PreTrainedTokenizerBase, trainer._tokenizer)
    render = partial(_render, trainer)
    return partial(TeacherPrompts, tokenizer=tokenizer, render=render, style=trainer.credit.prompt_style)


def _render(trainer: CEPOTrainer, prompt: Any) -> str:
    """A prompt as TRL turns it into text, generation prompt included."""
    if isinstance(prompt, str):
        return prompt
    return cast(Any, trainer.processing_class).apply_chat_template(
        as_parts(prompt) if trainer._is_vlm else prompt,
        tools=trainer.tools or None,
        chat_template=trainer.chat_template,
        add_generation_prompt=True,
        tokenize=False,
        **cast(dict[str, Any], trainer.chat_template_kwargs),
    )
