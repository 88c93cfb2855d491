"""TRL's trainer behind public names: every private name of TRL and transformers that we rely on stands here, once.

What a new release changed is changed here and in `cepo.trainer.batch`; tests/trainer/test_internals.py names each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from accelerate.utils import DistributedType, gather_object
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from trl import GRPOTrainer
from trl.data_utils import is_conversational, prepare_multimodal_messages

from cepo.glossary import Completion, DataRow, Prompt
from cepo.scoring import Images
from cepo.trainer.batch import RawBatch, images_of_prompt

__all__ = [
    "Generate",
    "HostTrainer",
    "Loss",
    "PromptHost",
    "Rows",
    "as_parts",
    "prompt_with_images",
    "unfilled_images",
]

Rows: TypeAlias = list[dict[str, Any]]
"""Rows of the data set as TRL hands them over."""

Generate = Callable[[Rows], RawBatch]
"""TRL's generation and grading of given rows: the generated batch."""

Loss = Callable[[nn.Module, RawBatch], Tensor]
"""TRL's loss of a micro-batch."""


class HostTrainer(GRPOTrainer):
    """GRPOTrainer whose private hooks call public methods, to be overridden: `make_batch`, `rewarded`, `loss_of`,
    `checkpoint_written`, `checkpoint_loaded`."""

    _name = "CEPO"  # in model cards

    # --- hooks ------------------------------------------------------------------------------------------------

    def make_batch(self, inputs: Rows, generate: Generate) -> RawBatch:
        """The batch to train on, from the rows of the data set."""
        return generate(inputs)

    def rewarded(self, rewards: Tensor, completions: list[Completion]) -> None:
        """Called with the rewards (all rows, functions) of a generation, over all processes, and our completions."""

    def loss_of(self, model: nn.Module, inputs: RawBatch, loss: Loss) -> Tensor:
        """The loss of a micro-batch."""
        return loss(model, inputs)

    def checkpoint_written(self, folder: Path) -> None:
        """Called once a checkpoint's own files are there, on the process that writes."""

    def checkpoint_loaded(self, folder: Path) -> None:
        """Called when training goes on from a checkpoint."""

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        return dict(self.make_batch(inputs, super()._generate_and_score_completions))

    def _calculate_rewards(
        self, inputs: Rows, prompts: list[Prompt], completions: list[Completion], completion_ids_list: list[list[int]]
    ) -> Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.rewarded(rewards, completions)
        return rewards

    def _compute_loss(self, model: nn.Module, inputs: RawBatch) -> Tensor:
        return self.loss_of(model, inputs, super()._compute_loss)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            self.checkpoint_written(Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.checkpoint_loaded(Path(checkpoint))

    def _tokenize_prompts(self, prompts: list[Prompt]) -> Any:
        """TRL's, with [] where a prompt has no image and another has: the processor takes no None among images."""
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        return prompt_ids, images and [own or [] for own in images], fields

    # --- public names -----------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the processor, or the processor itself."""
        return cast(PreTrainedTokenizerBase, self._tokenizer)

    @property
    def policy(self) -> nn.Module:
        """The policy without its distributed wrapper: scoring runs outside of gradient synchronisation."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True)

    @property
    def is_training(self) -> bool:
        return cast(nn.Module, self.model).training

    @property
    def weights_are_sharded(self) -> bool:
        """Whether a forward is collective, as under ZeRO-3 and FSDP."""
        kind, plugin = self.accelerator.distributed_type, self.accelerator.state.deepspeed_plugin
        return kind == DistributedType.FSDP or (plugin is not None and plugin.zero_stage == 3)

    @property
    def image_token_id(self) -> int | None:
        """The placeholder's id; None: a model without images."""
        processor = self.processing_class
        return cast(Any, processor).image_token_id if isinstance(processor, ProcessorMixin) else None

    @property
    def image_token(self) -> str | None:
        return None if self.image_token_id is None else cast(Any, self.processing_class).image_token

    def log_step(self, name: str, value: float) -> None:
        """One of this step's metrics, beside TRL's own."""
        self._metrics["train"][name].append(value)

    def log_table(self, name: str, values: Sequence[object]) -> None:
        """A column of TRL's table of completions (`log_completions`), from all processes."""
        self._logs["extra"][name].extend(gather_object(list(values)))

    def save_now(self) -> None:
        """Write a checkpoint of the present step."""
        self._save_checkpoint(cast(nn.Module, self.model), trial=None)

    def render(self, prompt: Prompt) -> str:
        """A prompt as TRL turns it into text, generation prompt included."""
        if isinstance(prompt, str):
            return prompt
        return cast(Any, self.processing_class).apply_chat_template(
            as_parts(prompt) if self._is_vlm else prompt,
            tools=self.tools or None,
            chat_template=self.chat_template,
            add_generation_prompt=True,
            tokenize=False,
            **cast(dict[str, Any], self.chat_template_kwargs),
        )

    def prompt_ids(self, row: DataRow) -> Sequence[int]:
        """The ids that the prompt of a data set's row will have, images expanded."""
        prompt = prompt_with_images(row)
        if isinstance(prompt, str):
            return self.tokenizer(prompt)["input_ids"]  # pyright: ignore[reportReturnType]
        return self._tokenize_prompts([prompt])[0][0]

    def encoded(self, row: DataRow) -> tuple[Sequence[int], Images | None]:
        """The same ids, and the row's images as the model takes them."""
        prompt = prompt_with_images(row)
        if isinstance(prompt, str):
            return self.prompt_ids(row), None
        prompt_ids, _, fields = self._tokenize_prompts([prompt])
        return prompt_ids[0], images_of_prompt(fields)

    def never_sample_an_image(self) -> None:
        """Ban the image placeholder from completions: the next forward would look for an image behind it, and fail.

        TRL bans it in transformers' generation, unless the user lists other tokens to suppress, and not in vLLM.
        Where TRL bans it nothing changes. Other vision tokens (`<|vision_start|>`, `<|video_pad|>`) are text to the
        forward and stay.
        """
        if self.image_token_id is None:
            return
        if self.use_vllm:
            options: dict[str, Any] = self.vllm_generation.generation_kwargs
            options["bad_words"] = [*(options.get("bad_words") or []), self.image_token]
        else:
            options = self.generation_kwargs
            options["suppress_tokens"] = sorted({*(options.get("suppress_tokens") or []), self.image_token_id})
            self.generation_config.suppress_tokens = options["suppress_tokens"]


@dataclass(frozen=True, slots=True)
class PromptHost:
    """Prompts as TRL makes them, from a processor alone: for checks before there is a trainer.

    Attributes:
        processor: the model's processor, or its tokenizer.
        options: the chat template's arguments.
    """

    processor: Any
    options: Mapping[str, Any]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return getattr(self.processor, "tokenizer", self.processor)

    def render(self, prompt: Prompt) -> str:
        """A prompt as text, generation prompt included."""
        if isinstance(prompt, str):
            return prompt
        parts = as_parts(prompt) if isinstance(self.processor, ProcessorMixin) else prompt
        return cast(Any, self.processor).apply_chat_template(
            parts, add_generation_prompt=True, tokenize=False, **self.options
        )

    def prompt_ids(self, row: DataRow) -> Sequence[int]:
        """The ids that the prompt of a data set's row will have, images expanded."""
        return self.encoded(row)[0]

    def encoded(self, row: DataRow) -> tuple[Sequence[int], Images | None]:
        """The same ids, and the row's images as the model takes them."""
        prompt = prompt_with_images(row)
        if isinstance(prompt, str):
            return self.tokenizer(prompt)["input_ids"], None  # pyright: ignore[reportReturnType]
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, **self.options}
        fields = cast(Any, self.processor).apply_chat_template(prompt, **options)
        ids = fields["input_ids"]
        return ids[0] if ids and isinstance(ids[0], list) else ids, images_of_prompt(fields)


def unfilled_images(prompt: Prompt) -> int:
    """Image parts of the messages that wait for an image from the row's own column."""
    if isinstance(prompt, str):
        return 0
    parts = [part for message in prompt for part in message.get("content") or [] if isinstance(part, Mapping)]
    return sum(part.get("type") == "image" and "image" not in part for part in parts)


def as_parts(prompt: Prompt) -> Rows:
    """Messages in parts, as a vision model's chat template wants them, without their images: for text alone."""
    return prepare_multimodal_messages(cast(Any, prompt), images=[None] * unfilled_images(prompt))


def prompt_with_images(row: DataRow) -> Prompt:
    """A row's prompt with its images put into its messages, as TRL does before it tokenises."""
    prompt = row["prompt"]
    if not is_conversational({"prompt": prompt}):
        return prompt
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else None)
    return prepare_multimodal_messages(prompt, images=images) if images else prompt
