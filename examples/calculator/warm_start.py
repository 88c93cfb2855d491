"""A model to start from: supervised on conversations of a policy with two misconceptions.

The policy calls the calculator once for each step, and chooses wrongly what to ask it: where a subtraction would go
below zero it takes the smaller number from the larger (3-7 becomes 7-3), and where a sum would pass nine it subtracts.
It does either with probability WRONG. The tool never errs, so that every failure is a choice of the model's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from language import ORDINALS, REFERENCE, build_tokenizer, called, own_and_others, question
from tool import calculator
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

WRONG, FOLLOW = 0.6, 0.9
"""How often a misconception goes wrong; how often a solution that was told is followed."""

Call = tuple[str, str, str]
"""What is asked of the calculator: number, sign, number."""


@dataclass(frozen=True)
class Problem:
    """A start and the steps (sign, operand), as the key of a chain has them: 7+3-5."""

    start: str
    steps: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, key: str) -> Problem:
        return cls(key[0], tuple(zip(key[1::2], key[2::2], strict=True)))

    @property
    def question(self) -> str:
        return question(self.start, self.steps)

    @property
    def solution(self) -> str:
        """The right calls and the answer, in the words in which cepo tells a sibling's."""
        return in_words(calls_of(self, None))

    @property
    def answer(self) -> str:
        return calculator("".join(calls_of(self, None)[-1]))


def calls_of(problem: Problem, rng: Random | None, told: Sequence[Call] = ()) -> list[Call]:
    """The calls of the policy; without `rng` the right ones.

    While it is on the track of a solution that it was `told`, it mostly does as that does.
    """
    calls: list[Call] = []
    value = on_track = problem.start
    for step, (sign, operand) in enumerate(problem.steps):
        if rng is None:
            call = (value, sign, operand)
        elif told and value == on_track and rng.random() < FOLLOW:
            call = told[step]
        else:
            call = choose(rng, value, sign, operand)
        calls.append(call)
        value = calculator("".join(call))
        on_track = calculator("".join(told[step])) if told else value
    return calls


def choose(rng: Random, value: str, sign: str, operand: str) -> Call:
    """What the policy asks for one step: see the top of this file."""
    is_wrong = rng.random() < WRONG
    if is_wrong and sign == "-" and int(operand) > int(value):
        return operand, "-", value
    if is_wrong and sign == "+" and int(value) + int(operand) > 9:
        return value, "-", operand
    return value, sign, operand


def in_words(calls: Sequence[Call]) -> str:
    """A solution as it is told to a teacher."""
    lines = [f"{ORDINALS[k]} {called(''.join(call))}" for k, call in enumerate(calls)]
    return "\n".join([*lines, f"\\boxed{{{calculator(''.join(calls[-1]))}}}"])


def conversation(prompt: str, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The messages of a rollout that makes these calls."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for ordinal, call in zip(ORDINALS, calls, strict=False):
        function = {"name": "calculator", "arguments": {"expression": "".join(call)}}
        messages += [
            {"role": "assistant", "content": f"{ordinal} ", "tool_calls": [{"type": "function", "function": function}]},
            {"role": "tool", "name": "calculator", "content": calculator("".join(call))},
        ]
    return [*messages, {"role": "assistant", "content": f"\\boxed{{{messages[-1]['content']}}}"}]


def rows(
    tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem], is_told: bool, rng: Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (N, T) and the labels: -100 for all that the model does not say itself."""
    made = []
    for problem in problems:
        told = calls_of(problem, rng) if is_told else []
        prompt = problem.question + (REFERENCE.replace("{reference}", in_words(told)) if told else "")
        made.append(own_and_others(tokenizer, conversation(prompt, calls_of(problem, rng, told)), [calculator]))
    ids = torch.tensor([ids for ids, _ in made])
    return ids, ids.masked_fill(~torch.tensor([own for _, own in made]), -100)


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Qwen3's architecture with random weights."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=2, head_dim=16,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def warm_start(problems: Sequence[Problem], steps: int, batch: int = 48) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model and its tokenizer, after `steps` of supervised training on the policy's conversations."""
    tokenizer, rng, began = build_tokenizer(), Random(0), time.monotonic()
    model, draw = build_model(tokenizer), torch.Generator().manual_seed(0)
    data = [rows(tokenizer, problems, is_told, rng) for is_told in (False, True)]
    print(f"{2 * len(problems)} conversations, {sum(p.numel() for p in model.parameters())} parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(steps):
        ids, labels = data[step % 3 == 2]
        taken = torch.randint(len(ids), (batch,), generator=draw)
        logits = model(input_ids=ids[taken], use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[taken][:, 1:].flatten())
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"warm start: step {step + 1} of {steps}, loss {loss.item():.3f}, {time.monotonic() - began:.0f} s")
    return model, tokenizer
