"""The small text model that ships with cepo: Qwen3's architecture at 110,000 parameters, for chains.

It reads one token per word and was warm-started by `cepo.lab.warm_start_text`. A run of reinforcement learning takes
it from a quarter of the problems to most of them in under a minute on one core.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from cepo.models.chat_tokenizer import word_tokenizer

__all__ = ["build_text_model", "build_text_tokenizer"]

_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def build_text_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is the words, marks and digits of `corpus`; anything else is unknown to it."""
    return word_tokenizer(corpus, _CONTROL, CHAT_TEMPLATE)


def build_text_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0, width: int = 64) -> Qwen3ForCausalLM:
    """The architecture with random weights, fp32."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=width // 4,
        max_position_embeddings=1024,
        # Short waves: a step is found at its distance, and no text here is longer than 200 tokens.
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        tie_word_embeddings=True,
        pad_token_id=cast(int, tokenizer.pad_token_id),
        eos_token_id=cast(int, tokenizer.eos_token_id),
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
