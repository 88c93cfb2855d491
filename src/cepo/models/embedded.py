"""The small model that ships with cepo: Qwen3-VL's architecture at 2.4 million parameters.

It sees 128 x 128 diagrams as 64 patches, reads its own small vocabulary and was warm-started by
`cepo.lab.warm_start`. A newcomer without a GPU and without a model hub trains and audits this one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from cepo.models.chat_tokenizer import chat_tokenizer
from cepo.models.processor import ImageOnlyProcessor

__all__ = [
    "CHAT_TEMPLATE", "CONTROL", "EMBEDDED", "EMBEDDED_FIGURES", "EMBEDDED_TEXT", "PATCH", "SHIPPED", "build_model",
    "build_processor", "image_processor", "initialised", "resolve", "special_ids",
]  # fmt: skip

EMBEDDED = Path(__file__).parent / "embedded_weights"
"""The folder of the shipped weights; `tiny` stands for it on the command line."""

EMBEDDED_TEXT = Path(__file__).parent / "embedded_text_weights"
"""The same for `tiny-text` (`cepo.models.embedded_text`)."""
EMBEDDED_FIGURES = Path(__file__).parent / "embedded_figures_weights"
"""The same for `tiny-figures` (`cepo.models.embedded_figures`)."""
SHIPPED = {"tiny": EMBEDDED, "tiny-text": EMBEDDED_TEXT, "tiny-figures": EMBEDDED_FIGURES}
"""Name -> folder of every model that ships with cepo."""

PATCH = 16
CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part.type == 'text' %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def resolve(name_or_path: str) -> str:
    """The name of an embedded model becomes its folder; anything else is returned as it is."""
    return str(SHIPPED.get(name_or_path, name_or_path))


def build_processor(corpus: Iterable[str], vocab_size: int = 640) -> ImageOnlyProcessor:
    """A processor with a byte-level BPE vocabulary learnt from `corpus`: every digit and mark stands alone."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=CONTROL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = chat_tokenizer(bpe, CONTROL, CHAT_TEMPLATE)
    images = image_processor(side=128, merge_size=1)
    return ImageOnlyProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)


def image_processor(side: int, merge_size: int) -> Qwen2VLImageProcessorPil:
    """For pictures of `side` pixels, of which merge_size x merge_size patches become one image token."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=merge_size,
        temporal_patch_size=2,
        size={"shortest_edge": side * side, "longest_edge": side * side},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def build_model(processor: ImageOnlyProcessor, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """The architecture with random weights, fp32 (2.4 million parameters)."""
    tokenizer = processor.tokenizer
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 48,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [8, 8, 8],
                "mrope_interleaved": True,
            },
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": 1,
            "out_hidden_size": 192,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **special_ids(tokenizer),
        tie_word_embeddings=True,
    )
    return initialised(config, tokenizer, seed)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Fields of a configuration that name tokens."""
    ids = tokenizer.convert_tokens_to_ids
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {f"{name}_token_id": name for name in ("vision_start", "vision_end")}
    return {field: ids(f"<|{name}|>") for field, name in names.items()}


def initialised(
    config: Qwen3VLConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Qwen3VLForConditionalGeneration:
    """Random weights, and the tokens with which generation ends and pads."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
