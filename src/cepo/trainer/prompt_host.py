"""Prompts as TRL makes them, from a processor alone, and what of it the trainer shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from trl.data_utils import is_conversational, prepare_multimodal_messages

from cepo.glossary import DataRow, Prompt
from cepo.scoring import RowImages
from cepo.trainer.batch_images import image_tensors, images_of_prompt

__all__ = ["PromptHost", "Rows", "as_parts", "prompt_text", "prompt_with_images", "unfilled_images", "with_image_parts"]

Rows: TypeAlias = list[dict[str, Any]]
"""Rows of the data set as TRL hands them over."""


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

    def encoded(self, row: DataRow) -> tuple[Sequence[int], RowImages | None]:
        """The same ids, and the row's images as the model takes them."""
        prompt = prompt_with_images(row)
        if isinstance(prompt, str):
            return self.tokenizer(prompt)["input_ids"], None  # pyright: ignore[reportReturnType]
        fields = self._fields(self._in_parts(prompt))
        ids = fields["input_ids"]
        return ids[0] if ids and isinstance(ids[0], list) else ids, images_of_prompt(fields)

    def made_together(self, rows: Rows) -> list[Tensor]:
        """The images of prompts of these rows, as one generation is given them; raises as the trainer's."""
        prompts = [self._in_parts(prompt_with_images(row)) for row in rows if not isinstance(row["prompt"], str)]
        return list(image_tensors(self._fields(prompts)).values())

    def _in_parts(self, prompt: Prompt) -> Any:
        plain = any(isinstance(cast(Any, one)["content"], str) for one in prompt)
        return as_parts(prompt) if plain and isinstance(self.processor, ProcessorMixin) else prompt

    def _fields(self, prompts: Any) -> Any:
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, **self.options}
        return cast(Any, self.processor).apply_chat_template(prompts, **options)


def prompt_text(prompt: Prompt) -> str:
    """All text of a prompt."""
    if isinstance(prompt, str):
        return prompt
    contents = [message.get("content") or "" for message in prompt]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)


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


def with_image_parts(prompt: Prompt, images: int) -> Prompt:
    """A row's prompt as `prompt_with_images` makes it, with parts that hold no image: for its text alone."""
    if isinstance(prompt, str) or not images:
        return prompt
    return prepare_multimodal_messages(cast(Any, prompt), images=[None] * images)
