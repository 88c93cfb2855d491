"""The tokenizers of the models that ship with cepo, as transformers wants them."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

__all__ = ["chat_tokenizer"]


def chat_tokenizer(
    core: Tokenizer, control: Sequence[str], chat_template: str, unk_token: str | None = None
) -> PreTrainedTokenizerFast:
    """`core` padded on the left; of its control tokens the first pads, and `<|im_end|>` ends a turn."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token=control[0],
        unk_token=unk_token,
        additional_special_tokens=[*control[1:]],
        padding_side="left",
        truncation_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer
