"""Log-probs of given completions under given prompts: exact, and without a (B, T, V) tensor.

`score` is the only place where a teacher is run. It takes unpadded rows, so that no padding side, no padding
length and no re-tokenisation can move a number, and runs the transformer without its output layer; the output
layer then sees completion positions only, in fp32 and in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Images", "ScoreRow", "score"]

TOKENS_PER_CHUNK = 512
"""Positions that the output layer sees at once: 512 x 152k logits in fp32 are 310 MB."""


@dataclass(frozen=True, slots=True)
class Images:
    """One row's images as the processor made them.

    `pixel_values` (patches, values of a patch) and `grid_thw` (images, 3); Qwen-VL's layout.
    """

    pixel_values: Tensor
    grid_thw: Tensor


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One sequence to score: prompt ids, completion ids (both unpadded), and the prompt's images."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    images: Images | None = None

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@torch.no_grad()
def score(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    *,
    width: int,
    temperature: float = 1.0,
    rows_per_forward: int = 16,
    image_token_id: int | None = None,
    forwards: int | None = None,
) -> Float[Tensor, "B T"]:
    """log pi(y_t | prompt, y_<t) of every completion token, in nats, fp32.

    Args:
        model: a transformers causal or image-text model, wrapped by nothing but PEFT. It is put into eval mode
            (train mode with gradient checkpointing is not the same function) and back.
        rows: what to score; each has a prompt of one token at least.
        width: T of the result; rows are padded on the right with 0.
        temperature: divides the logits, as in the student's own log-probs.
        rows_per_forward: rows that share one forward, sorted by length.
        image_token_id: the placeholder's id; needed when rows have images.
        forwards: run at least so many forwards (sharded training: every rank must run equally many).

    Raises:
        ValueError: an empty prompt, a completion longer than `width`, images without `image_token_id`.
    """
    _check(rows, width, image_token_id)
    device = next(model.parameters()).device
    logp_BT = torch.zeros(len(rows), width, device=device)
    order = sorted(range(len(rows)), key=lambda index: rows[index].length)
    batches = [order[start : start + rows_per_forward] for start in range(0, len(order), rows_per_forward)]
    with _evaluating(model):
        for batch in batches:
            _score_batch(model, [rows[index] for index in batch], batch, logp_BT, temperature, image_token_id)
        for _ in range(len(batches), forwards or 0):
            _hidden(model, rows[:1], image_token_id)
    return logp_BT


def _check(rows: Sequence[ScoreRow], width: int, image_token_id: int | None) -> None:
    for index, row in enumerate(rows):
        if not row.prompt_ids:
            raise ValueError(f"row {index} to score has an empty prompt; its first token has no log-prob")
        if len(row.completion_ids) > width:
            raise ValueError(f"row {index} has {len(row.completion_ids)} completion tokens, but width is {width}")
        if row.images is not None and image_token_id is None:
            raise ValueError(f"row {index} has images, but no image_token_id was given")


def _score_batch(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    places: Sequence[int],
    out_BT: Tensor,
    temperature: float,
    image_token_id: int | None,
) -> None:
    hidden_BSD = _hidden(model, rows, image_token_id)
    device = out_BT.device
    picked = [
        hidden_BSD[i, len(row.prompt_ids) - 1 : row.length - 1] for i, row in enumerate(rows) if row.completion_ids
    ]
    if not picked:
        return
    target_N = torch.tensor([token for row in rows for token in row.completion_ids], device=device)
    logp_N = _token_logps(model, torch.cat(picked), target_N, temperature)
    taken = 0
    for place, row in zip(places, rows, strict=True):
        count = len(row.completion_ids)
        out_BT[place, :count] = logp_N[taken : taken + count]
        taken += count


def _token_logps(model: nn.Module, hidden_ND: Tensor, target_N: Tensor, temperature: float) -> Tensor:
    head = _causal_model(model).get_output_embeddings()
    chunks = []
    for hidden_CD, target_C in zip(hidden_ND.split(TOKENS_PER_CHUNK), target_N.split(TOKENS_PER_CHUNK), strict=True):
        logits_CV = head(hidden_CD).float() / temperature
        chunks.append(-F.cross_entropy(logits_CV, target_C, reduction="none"))
    return torch.cat(chunks)


def _hidden(model: nn.Module, rows: Sequence[ScoreRow], image_token_id: int | None) -> Tensor:
    """Last hidden states of right-padded rows, (B, S, D)."""
    device = next(model.parameters()).device
    longest = max(row.length for row in rows)
    # A row is padded with its own first token: never a placeholder that the model would look for an image at.
    ids = [[*row.prompt_ids, *row.completion_ids] + [row.prompt_ids[0]] * (longest - row.length) for row in rows]
    input_ids = torch.tensor(ids, device=device)
    lengths = torch.tensor([row.length for row in rows], device=device)
    attention_mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
    inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
    images = [row.images for row in rows if row.images is not None]
    if images:
        inputs["pixel_values"] = torch.cat([image.pixel_values for image in images]).to(device)
        inputs["image_grid_thw"] = torch.cat([image.grid_thw for image in images]).to(device)
        inputs["mm_token_type_ids"] = (input_ids == image_token_id).long()
    return _causal_model(model).base_model(**inputs, use_cache=False).last_hidden_state


class _CausalModel(Protocol):
    """What we ask of a transformers model: the transformer and the output layer, separately."""

    base_model: Any

    def get_output_embeddings(self) -> Any: ...


def _causal_model(model: nn.Module) -> _CausalModel:
    """The transformers model inside PEFT's wrapper; adapters live in its layers and stay on."""
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model  # pyright: ignore[reportCallIssue]
    return cast(_CausalModel, inner)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
