"""Toys of vision models in other layouts than Qwen-VL's: transformers' own models and processors, at toy size.

Weights are random, and larger than fresh ones, so that a fault shows. Image processors are those on Pillow; none needs
torchvision, and the two processors that want one for videos (SmolVLM, InternVL) are their own classes without videos.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.paligemma.processing_paligemma import PaliGemmaProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.processing_utils import ProcessorMixin

from cepo.models.chat_tokenizer import word_tokenizer

__all__ = ["LAYOUTS", "Toy", "paligemma", "picture", "rows_of"]

SIDE, PATCH = 16, 4
KINDS_OF_LAYERS = ("sliding_attention", "full_attention")
CORPUS = (
    "What is the colour of this picture? What are the two of them? Say it. Red green blue seven eight nine. yes no "
    "(The answer to this problem is . Show the steps that lead to it.) (Here is a solution to this problem:\n\n"
    "Write a solution of your own.) 0123456789 is the value of it , so we have . \\boxed{ }"
)
TEMPLATE = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}{%- else -%}"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}{{ 'PLACE' }}"
    "{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}{{ '<|im_end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
TEXT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "head_dim": 8, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE,
    "patch_size": PATCH,
}  # fmt: skip


@dataclass(frozen=True)
class Toy:
    """A model with its processor."""

    model: Any
    processor: Any


def picture(seed: int, height: int = 20, width: int = 20) -> PIL.Image.Image:
    """Coloured noise."""
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def _tokenizer(placeholder: str, *more: str, **named: str) -> Any:
    control = ["<|pad|>", "<|im_start|>", "<|im_end|>", placeholder, *more]
    tokenizer = word_tokenizer([CORPUS, "user\n", "assistant\n"], control, TEMPLATE.replace("PLACE", placeholder))
    for name, token in named.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    return tokenizer


def _shaken(model: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _text(kind: type, tokenizer: Any, **more: Any) -> Any:
    return kind(**TEXT, vocab_size=len(tokenizer), **more)


def llava() -> Toy:
    tokenizer = _tokenizer("<image>")
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size)
    processor = LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=_text(LlamaConfig, tokenizer),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
    )  # fmt: skip
    return Toy(_shaken(LlavaForConditionalGeneration(config)), processor)


def llava_next() -> Toy:
    tokenizer = _tokenizer("<image>")
    size, grid = {"height": SIDE, "width": SIDE}, [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    images = LlavaNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size, image_grid_pinpoints=grid)
    processor = LlavaNextProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=_text(LlamaConfig, tokenizer),
        image_token_index=processor.image_token_id,
        image_grid_pinpoints=grid, vision_feature_layer=-1,
    )  # fmt: skip
    return Toy(_shaken(LlavaNextForConditionalGeneration(config)), processor)


def gemma3() -> Toy:
    tokens = {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
    tokenizer = _tokenizer(*tokens.values(), **tokens)
    images = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)
    config = Gemma3Config(
        text_config=_text(Gemma3TextConfig, tokenizer, sliding_window=24, layer_types=list(KINDS_OF_LAYERS)),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False), mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id, eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )  # fmt: skip
    return Toy(_shaken(Gemma3ForConditionalGeneration(config)), processor)


def _idefics(images: Any, processor: Callable[..., Any], config: Any, model: Any) -> Toy:
    grid = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    marks = ("<fake_token_around_image>", "<global-img>", *grid, "<end_of_utterance>")
    tokenizer = _tokenizer("<image>", *marks)
    tokens = (SIDE // PATCH) ** 2 // 4
    sizes = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    made = processor(images(**sizes), tokenizer, image_seq_len=tokens, chat_template=tokenizer.chat_template)
    own = config(
        vision_config=VISION, text_config=_text(LlamaConfig, tokenizer).to_dict(), scale_factor=2,
        image_token_id=made.image_token_id, pad_token_id=0,
    )  # fmt: skip
    return Toy(_shaken(model(own)), made)


def idefics3() -> Toy:
    return _idefics(Idefics3ImageProcessorPil, Idefics3Processor, Idefics3Config, Idefics3ForConditionalGeneration)


class ImageOnlySmolVLM(SmolVLMProcessor):
    """SmolVLM's without videos, whose processor needs torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, image_seq_len: int = 169, chat_template: Any = None):
        self.fake_image_token, self.image_token = "<fake_token_around_image>", "<image>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.end_of_utterance_token, self.global_image_token = "<end_of_utterance>", "<global-img>"
        self.image_seq_len, self.video_token = image_seq_len, "<video>"
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        return ProcessorMixin.apply_chat_template(self, *args, **kwargs)


def smolvlm() -> Toy:
    return _idefics(SmolVLMImageProcessorPil, ImageOnlySmolVLM, SmolVLMConfig, SmolVLMForConditionalGeneration)


class ImageOnlyInternVL(InternVLProcessor):
    """InternVL's without videos, whose processor needs torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, image_seq_length: int = 256, chat_template: Any = None):
        self.image_seq_length, self.video_token = image_seq_length, "<video>"
        self.image_token, self.image_token_id = tokenizer.context_image_token, tokenizer.context_image_token_id
        self.start_image_token, self.start_image_token_id = tokenizer.start_image_token, tokenizer.start_image_token_id
        self.end_image_token, self.end_image_token_id = tokenizer.end_image_token, tokenizer.end_image_token_id
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
        self.multimodal_pattern = re.compile(f"(?P<image>{re.escape(self.image_token)})|(?P<video><video>)")


def internvl() -> Toy:
    tokens = {"context_image_token": "<IMG_CONTEXT>", "start_image_token": "<img>", "end_image_token": "</img>"}
    tokenizer = _tokenizer(*tokens.values(), "<video>", **tokens, video_token="<video>")
    images = GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = ImageOnlyInternVL(images, tokenizer, image_seq_length=4, chat_template=tokenizer.chat_template)
    vision = VISION | {"image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}
    config = InternVLConfig(
        vision_config=vision | {"model_type": "internvl_vision"}, text_config=_text(Qwen2Config, tokenizer).to_dict(),
        image_token_id=processor.image_token_id, image_seq_length=4, downsample_ratio=0.5,
    )  # fmt: skip
    return Toy(_shaken(InternVLForConditionalGeneration(config)), processor)


def paligemma() -> Toy:
    """Not among the layouts: TRL trains it on completions that it sees."""
    tokenizer = _tokenizer("<image>", image_token="<image>", bos_token="<|im_start|>")
    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = (SIDE // PATCH) ** 2
    processor = PaliGemmaProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    config = PaliGemmaConfig(
        text_config=_text(GemmaConfig, tokenizer).to_dict(), projection_dim=32,
        vision_config=VISION | {"model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=processor.image_token_id,
    )  # fmt: skip
    return Toy(_shaken(PaliGemmaForConditionalGeneration(config)), processor)


LAYOUTS: dict[str, Callable[[], Toy]] = {
    "llava": llava, "llava_next": llava_next, "gemma3": gemma3, "idefics3": idefics3, "smolvlm": smolvlm,
    "internvl": internvl,
}  # fmt: skip


def rows_of(*images: list[PIL.Image.Image], **more: Any) -> list[dict[str, Any]]:
    """Rows of a data set with these images each."""
    return [
        {
            "prompt": [
                {
                    "role": "user",
                    "content": [
                        *[{"type": "image"} for _ in own],
                        {"type": "text", "text": f"What is the colour of this picture? {len(own)}"},
                    ],
                }
            ],
            "images": own,
            "answer": str(place % 10),
            "solution": f"is the value of it {place % 10}",
            **more,
        }
        for place, own in enumerate(images)
    ]
