"""A trainer's arguments made ready for TRL: checked (`cepo.trainer.checks`), rewards guarded, images as images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from datasets import Dataset
from torch import nn

from cepo.data.guards import RewardFunc, guard_reward
from cepo.data.pictures import with_pictures
from cepo.data.rewards import bind_reward
from cepo.errors import SettingError
from cepo.models.processor import load_processor
from cepo.trainer.checks import (
    check_folder,
    check_images_alike,
    check_resampling,
    check_router,
    check_vllm,
    rows_without_image,
)
from cepo.trainer.config import CEPOConfig
from cepo.trainer.internals_prompts import tokens_of_images
from cepo.trainer.sampling import check_band, with_row_numbers
from cepo.trainer.subject import Subject
from cepo.trainer.teacher_view import COLUMNS

if TYPE_CHECKING:
    from cepo.trainer.trainer import CEPOTrainer

__all__ = ["check_before_model", "check_with_model", "guarded_rewards", "ready", "subject_of"]

Seen = Callable[[str, list[float | None]], None]


def check_before_model(args: CEPOConfig) -> None:
    """What can be known before the model is touched. Raises CepoError."""
    check_folder(args.run_folder)
    check_vllm(args)


def check_with_model(args: CEPOConfig, trainer: CEPOTrainer) -> None:
    """What depends on the model, on how its weights lie, and on environments. Raises CepoError."""
    dataset = trainer.train_dataset
    check_router(args, trainer.aux_loss_enabled)
    if args.resample_dead_groups or args.curriculum_rest:
        check_resampling(args, dataset)
    check_band(args, dataset)
    if trainer.weights_are_sharded:
        check_images_alike(dataset)
    if trainer.accelerator.num_processes > 1:
        _check_turns(args, trainer)
        _leave_images_out_of_tables(args, trainer)
    columns = getattr(dataset, "column_names", None) or ()
    if trainer.environment_factories is not None and trainer.views.differ(columns):
        raise SettingError(
            "environment_factory says something of each rollout's own, which teachers with prompts, images or template "
            f"arguments of their own would not read: drop {', '.join(COLUMNS)} and teacher_chat_template_kwargs"
        )


def _check_turns(args: CEPOConfig, trainer: CEPOTrainer) -> None:
    """A process whose model calls a tool generates once more than the others: not where they generate together."""
    if not trainer.tools:
        return
    together = "vLLM's server is asked by" if args.use_vllm and args.vllm_mode == "server" else None
    if args.use_vllm and args.vllm_mode == "colocate" and args.vllm_tensor_parallel_size > 1:
        together = "vllm_tensor_parallel_size > 1 spreads vLLM over"
    if trainer.weights_are_sharded and not args.use_vllm:
        together = "sharded weights (FSDP, ZeRO-3) are gathered from"
    if together:
        raise SettingError(
            f"tools: a process whose model calls one more generates once more than the others, but {together} all "
            "processes at once; use DDP or ZeRO-2, with transformers or a vLLM of each process's own (colocate)"
        )


def _leave_images_out_of_tables(args: CEPOConfig, trainer: CEPOTrainer) -> None:
    """TRL gathers them for its tables (`log_multimodal`) on the processes alone whose rows have some."""
    dataset = trainer.train_dataset
    alike = isinstance(dataset, Dataset) and not rows_without_image(dataset)
    if not trainer.log_multimodal or (alike and not trainer.rewrites_prompts):
        return
    trainer.log_multimodal = False
    if args.log_completions and trainer.image_token_id is not None:
        warnings.warn(
            "log_completions: the tables have no images, since with several processes TRL can log them only where "
            "every row has some", stacklevel=2,
        )  # fmt: skip


def guarded_rewards(reward_funcs: object, args: CEPOConfig, *seen: Seen) -> list[object]:
    """Callables, ours bound to the run's grading, guarded; reward models (modules, names) are TRL's to call.

    All of `seen` are called with each function's name and its rewards.
    """

    def see(name: str, rewards: list[float | None]) -> None:
        for one in seen:
            one(name, rewards)

    functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
    return [_guarded(function, args, see) for function in functions]


def _guarded(function: object, args: CEPOConfig, seen: Seen) -> object:
    if function is None or isinstance(function, (str, nn.Module)):
        return function
    bound = bind_reward(cast(RewardFunc, function), args.grading)
    return guard_reward(bound, args.reward_timeout, seen=seen)


def ready(given: Mapping[str, Any], model: object, args: CEPOConfig) -> dict[str, Any]:
    """Arguments by TRL's names: data with their images as images, and the processor of a named model's revision."""
    arguments = {name: with_pictures(value) for name, value in given.items()}
    if args.curriculum_rest:
        arguments["train_dataset"] = with_row_numbers(arguments.get("train_dataset"))
    if arguments.get("processing_class") is None and isinstance(model, str):
        revision = cast(Any, args.model_init_kwargs or {}).get("revision")
        arguments["processing_class"] = load_processor(
            model, trust_remote_code=args.trust_remote_code, revision=revision
        )
    return arguments


def subject_of(trainer: CEPOTrainer) -> Subject:
    """What is checked of a trainer before anything is generated."""
    return Subject(
        config=trainer.args,
        method=trainer.method,
        dataset=trainer.train_dataset,
        prompts=trainer.prompts,
        render=trainer.render,
        prompt_ids=trainer.prompt_ids,
        views=trainer.views,
        positions=cast(Any, trainer.model).config.get_text_config().max_position_embeddings,
        image_token=trainer.image_token,
        image_tokens=partial(tokens_of_images, trainer.processing_class),
        reward_funcs=list(trainer.reward_funcs),
        reward_names=list(trainer.reward_func_names),
        trainer_state=trainer.state,
    )
