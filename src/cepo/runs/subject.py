"""A run as the trainer's checks want it, before there is a trainer."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from datasets import Dataset

from cepo.credit.rules import get_method
from cepo.data.rewards import bind_reward, get_reward
from cepo.data.tools import get_tool
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig
from cepo.trainer.internals_prompts import tokens_of_images
from cepo.trainer.prompt_host import PromptHost
from cepo.trainer.subject import Subject
from cepo.trainer.teacher_view import TeacherViews

__all__ = ["subject_of", "views_of"]


def subject_of(run: RunConfig, config: CEPOConfig, data: Dataset, processor: Any, model_config: Any) -> Subject:
    """Of a recipe, its data and its model's processor and config; the weights are not needed."""
    tools = {"tools": [get_tool(name) for name in run.tools]} if run.tools else {}
    host = PromptHost(processor, cast(dict[str, Any], config.chat_template_kwargs or {}) | tools)
    views = views_of(host, config)
    return Subject(
        config=config,
        method=get_method(config.method),
        dataset=data,
        prompts=config.credit.teacher_prompts(host.tokenizer, views.host.render),
        render=host.render,
        prompt_ids=host.prompt_ids,
        views=views,
        positions=model_config.get_text_config().max_position_embeddings,
        image_token=getattr(processor, "image_token", None),
        image_tokens=partial(tokens_of_images, processor),
        reward_funcs=[bind_reward(get_reward(name), config.grading) for name in run.rewards],
        reward_names=list(run.rewards),
    )


def views_of(host: PromptHost, config: CEPOConfig) -> TeacherViews:
    """What teachers are shown in place of the student's prompts, which `host` makes."""
    token = getattr(host.processor, "image_token", None)
    return TeacherViews.of(host.processor, host.options, config.teacher_template, token)
