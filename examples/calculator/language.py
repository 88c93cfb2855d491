"""The small model's language: its words, its chat template with tools, and how TRL reads its calls.

A larger model brings all of this with its tokenizer. What TRL asks of one: a `chat_template` that renders `tool_calls`
and the role `tool` and changes nothing before what is added, and a `response_template`, by which calls are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cepo import Grading

__all__ = ["IN_WORDS", "ORDINALS", "REFERENCE", "build_tokenizer", "called", "own_and_others", "question"]

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
REFERENCE = "\n(A solution:\n{reference}\n)"
"""The words around a solution that a teacher is told (`reference_template`)."""
IN_WORDS = {"+": "add", "-": "subtract"}

# All that is the same in every call is one token: what is left to choose are two numbers and a sign.
_CALL, _CLOSE = '<tool_call>{"name": "calculator", "arguments": {"expression": "', '"}}</tool_call>'
_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\ntools: ' + (tools | map(attribute='function.name') | join(', ')) + '<|im_end|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
    {%- for call in message.tool_calls or [] %}
        {%- set said = {'name': call.function.name, 'arguments': call.function.arguments} %}
        {{- '<tool_call>' + (said | tojson) + '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_RESPONSE: dict[str, Any] = {
    "start_anchor": "<|im_start|>assistant\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "content": {"content": "text", "close": "<|im_end|>"},
        "tool_calls": {
            "content": "json",
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "transform": {"function": "{content}", "type": "function"},
        },
    },
}
_PIECE = Regex(r'\\boxed\{|calculator\(expression="|"\)\n|[a-z]+\n|[A-Za-z]+ ?|\d|[^\w\s] ?|\s|.')
"""A word or a mark with the space behind it, or a digit; what is the same in every call that a teacher is told of."""


def question(start: str, steps: Sequence[tuple[str, str]]) -> str:
    """What is asked, of the first value and the steps (sign, operand): each step has its number as a word."""
    said = ", ".join(f"{ORDINALS[k]} {IN_WORDS[sign]} {operand}" for k, (sign, operand) in enumerate(steps))
    return f"Count modulo ten from {start}, {said}.\n{Grading().instruction}"


def called(expression: str) -> str:
    """A call as solutions are told to teachers: the words that cepo has for a sibling's calls."""
    return f"calculator(expression={json.dumps(expression)})"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each word, mark and digit, and for the constant part of a call; it pads on the left."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = [
        *(question("0123456789"[k], [("+", "1"), ("-", "2")] * 3) for k in range(10)),
        *(f"{ordinal} " for ordinal in ORDINALS), *"0123456789+-", "tools: calculator", "user\n", "system\n", "tool\n",
        "assistant\n", "error", called("1+2") + "\n", "\\boxed{0}", *REFERENCE.split("{reference}"),
    ]  # fmt: skip
    split = pre_tokenizers.Split(_PIECE, "isolated")
    pieces = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)})
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate([*control, "<unk>", *pieces])}, "<unk>"))
    core.pre_tokenizer, core.decoder = split, decoders.Fuse()
    core.add_tokens([AddedToken(text, normalized=False) for text in (_CALL, _CLOSE)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=control[0], eos_token=control[2], unk_token="<unk>",
        additional_special_tokens=control[1:2], padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template, tokenizer.response_template = _TEMPLATE, _RESPONSE
    return tokenizer


def own_and_others(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Any], tools: Sequence[Callable[..., Any]]
) -> tuple[list[int], list[bool]]:
    """Ids of a conversation, and of each whether the model itself says it: never the prompt, nor what a tool says."""
    text = str(tokenizer.apply_chat_template([*messages], tools=[*tools], tokenize=False))
    header = "<|im_start|>assistant\n"
    before, *turns = text.split(header)
    ids: list[int] = tokenizer(before)["input_ids"]  # pyright: ignore[reportAssignmentType]
    own = [False] * len(ids)
    for turn in turns:
        said, end, rest = turn.partition("<|im_end|>")
        for piece, is_own in ((header, False), (said + end, True), (rest, False)):
            found: list[int] = tokenizer(piece)["input_ids"]  # pyright: ignore[reportAssignmentType]
            ids, own = ids + found, own + [is_own] * len(found)
    return ids, own
