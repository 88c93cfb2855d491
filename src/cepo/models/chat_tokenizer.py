"""The tokenizers of the models that ship with cepo, as transformers wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

__all__ = ["chat_tokenizer", "word_tokenizer"]

_UNKNOWN = "<unk>"
# A word or a mark with the space behind it, a number, any other character: the pieces of a text add up to the text.
_PIECE = r"\\boxed\{|[A-Za-z]+ ?|%s|[^\w\s] ?|\s|."


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


def word_tokenizer(
    corpus: Iterable[str], control: Sequence[str], chat_template: str, number: str = r"\d"
) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is the words, marks and numbers of `corpus`; anything else is unknown to it.

    Args:
        number: a regular expression for one token of a number: one digit, or digits for whole numbers.
    """
    split = pre_tokenizers.Split(Regex(_PIECE % number), "isolated")
    pieces = sorted({piece for text in corpus for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {piece: index for index, piece in enumerate([*control, _UNKNOWN, *pieces])}
    by_word = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    by_word.pre_tokenizer = split
    by_word.decoder = decoders.Fuse()
    return chat_tokenizer(by_word, control, chat_template, unk_token=_UNKNOWN)
