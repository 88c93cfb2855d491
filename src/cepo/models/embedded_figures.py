"""The small model for figure problems: Qwen3-VL's architecture at about a million parameters.

It sees a picture of 192 x 192 pixels as nine image tokens, one for each panel, reads one token per word and per number,
and was warm-started by `cepo.lab.warm_start_figures`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from cepo.figures.drawing import PANEL_CELLS, PANEL_PIXELS, SIDE_PANELS
from cepo.models.chat_tokenizer import word_tokenizer
from cepo.models.embedded import CHAT_TEMPLATE, CONTROL, PATCH, image_processor, initialised, special_ids
from cepo.models.processor import ImageOnlyProcessor

__all__ = ["build_figures_model", "build_figures_processor"]


def build_figures_processor(corpus: Iterable[str]) -> ImageOnlyProcessor:
    """A processor whose vocabulary is the words, marks and numbers of `corpus`; a panel is one image token."""
    tokenizer = word_tokenizer(corpus, CONTROL, CHAT_TEMPLATE, number=r"\d+")
    images = image_processor(SIDE_PANELS * PANEL_PIXELS, merge_size=PANEL_CELLS)
    return ImageOnlyProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)


def build_figures_model(
    processor: ImageOnlyProcessor, seed: int = 0, width: int = 64, layers: int = 3
) -> Qwen3VLForConditionalGeneration:
    """The architecture with random weights, fp32."""
    tokenizer = processor.tokenizer
    heads = 4
    half = width // heads // 2
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": width // heads,
            "max_position_embeddings": 1024,
            # Short waves: a step is found at its distance.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [half - 2 * (half // 3), half // 3, half // 3],
                "mrope_interleaved": True,
            },
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": PANEL_CELLS,
            "out_hidden_size": width,
            "num_position_embeddings": (SIDE_PANELS * PANEL_CELLS) ** 2,
            "deepstack_visual_indexes": [],
        },
        **special_ids(tokenizer),
        tie_word_embeddings=True,
    )
    model = initialised(config, tokenizer, seed)
    # Words of length one in about any direction: image tokens are made of them.
    nn.init.normal_(cast(Tensor, model.get_input_embeddings().weight), std=width**-0.5)
    return model
