"""How TRL makes prompts, and what of them is an image, by public names: the other half of `cepo.trainer.internals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer

from cepo.glossary import DataRow, Prompt
from cepo.scoring import RowImages
from cepo.trainer.batch_images import image_tensors, images_of_prompt, is_other_layout, with_images_of_rows
from cepo.trainer.prompt_host import Rows, as_parts, prompt_with_images
from cepo.trainer.teacher_view import TeacherViews

__all__ = ["PromptTrainer", "tokens_of_images"]


class PromptTrainer(GRPOTrainer):
    """GRPOTrainer that says what a row's prompt, its ids and its images will be, as it generates from them."""

    def _tokenize_prompts(self, prompts: list[Prompt]) -> Any:
        """TRL's, with [] where a prompt has no image and another has: the processor takes no None among images."""
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        return prompt_ids, images and [own or [] for own in images], fields

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> Any:
        """TRL's, with None where a prompt has no image: vLLM in this process takes the first of each list."""
        if self.use_vllm and images is not None:
            images = [own or None for own in images]
        return super()._generate_single_turn(
            prompt_ids, images, multimodal_fields, num_generations, has_tool_images=has_tool_images
        )

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """TRL's; rows none of which has an image are given none, where TRL gives no element of a tensor of images:
        outside of Qwen-VL's layout models fail on that."""

        def forward(**inputs: Any) -> Any:
            return model(**with_images_of_rows(inputs, self.image_token_id))

        called = forward if is_other_layout(kwargs) else model
        return super()._get_per_token_logps_and_entropies(cast(Any, called), *args, **kwargs)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the processor, or the processor itself."""
        return cast(PreTrainedTokenizerBase, self._tokenizer)

    @property
    def pad_id(self) -> int:
        """The id that fills padding; TRL sees to it that there is one."""
        return cast(int, self.tokenizer.pad_token_id)

    @property
    def policy(self) -> nn.Module:
        """The policy without its distributed wrapper: scoring runs outside of gradient synchronisation."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True)

    @property
    def image_token_id(self) -> int | None:
        """The id of the tokens that the model puts images in place of, which the processor's own need not be (Gemma 3's
        marks where an image begins); None: a model without images."""
        return getattr(cast(Any, self.policy).config, "image_token_id", None) if self._is_vlm else None

    @property
    def image_token(self) -> str | None:
        return None if self.image_token_id is None else cast(Any, self.processing_class).image_token

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
        return self._tokenized([row], [prompt])[0][0]

    def encoded(self, row: DataRow) -> tuple[Sequence[int], RowImages | None]:
        """The same ids, and the row's images as the model takes them."""
        prompt = prompt_with_images(row)
        if isinstance(prompt, str):
            return self.prompt_ids(row), None
        prompt_ids, _, fields = self._tokenized([row], [prompt])
        return prompt_ids[0], images_of_prompt(fields)

    def made_together(self, rows: Rows) -> list[Tensor]:
        """The images of prompts of these rows, as one generation is given them.

        Raises whatever the processor or torch does where they do not fit into one batch.
        """
        _, _, fields = self._tokenized(rows, [prompt_with_images(row) for row in rows])
        return list(image_tensors(fields).values())

    def _tokenized(self, rows: Sequence[DataRow], prompts: list[Prompt]) -> Any:
        """Rows' prompts as TRL makes them, with the tools of the environments that the rows name."""
        if self.environment_factories is not None:
            self._batch_environments = [row.get("environment") if self._multi_environment else None for row in rows]
        return self._tokenize_prompts(prompts)

    @property
    def rewrites_prompts(self) -> bool:
        """Whether rollouts may have other prompts or images than the rows of the data set."""
        return self.rollout_func is not None or bool(self.tools) or self.environment_factories is not None

    def teacher_views(self, template: Mapping[str, Any]) -> TeacherViews:
        """What teachers are shown, `template` being their own arguments of the chat template."""
        given = cast(dict[str, Any], self.chat_template_kwargs)
        options = {"chat_template": self.chat_template, "tools": self.tools or None, **given}
        return TeacherViews.of(self.processing_class, options, template, self.image_token)

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
            placeholder = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
            options["bad_words"] = [*(options.get("bad_words") or []), placeholder]
        else:
            options = self.generation_kwargs
            options["suppress_tokens"] = sorted({*(options.get("suppress_tokens") or []), self.image_token_id})
            self.generation_config.suppress_tokens = options["suppress_tokens"]


def tokens_of_images(processor: object, sizes: Sequence[tuple[int, int]]) -> Sequence[int] | None:
    """Placeholder tokens that images of these heights and widths become; None: the processor cannot say."""
    ask = getattr(processor, "_get_num_multimodal_tokens", None)
    if ask is None or not sizes:
        return None if sizes else []
    return list(ask(image_sizes=[list(size) for size in sizes])["num_image_tokens"])
