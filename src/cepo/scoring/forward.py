"""Last hidden states of completion positions: rows that continue from shared prefixes, and whole rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from cepo.scoring.plan import SharedBatch
from cepo.scoring.rows import Images, ScoreRow

__all__ = ["NotShareable", "causal_model", "hidden_of_shared", "hidden_of_whole"]


class NotShareable(Exception):
    """The model keeps no plain cache of keys and values (sliding windows, states): rows must go whole."""


class CausalModel(Protocol):
    """What is asked of a transformers model: the transformer and the output layer, separately."""

    base_model: Any
    config: Any

    def get_output_embeddings(self) -> Any: ...


def causal_model(model: nn.Module) -> CausalModel:
    """The transformers model inside PEFT's wrapper; adapters live in its layers and stay on."""
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model  # pyright: ignore[reportCallIssue]
    return cast(CausalModel, inner)


def hidden_of_whole(model: nn.Module, rows: Sequence[ScoreRow], image_token_id: int | None) -> list[Tensor]:
    """For each row the states (T, D) that predict its completion; one forward over right-padded rows."""
    device = next(model.parameters()).device
    ids, mask = _right_padded([[*row.prompt_ids, *row.completion_ids] for row in rows], device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    inputs |= _vision([row.images for row in rows], ids, image_token_id)
    output = causal_model(model).base_model(**inputs, use_cache=False).last_hidden_state
    return [output[i, len(row.prompt_ids) - 1 : row.length - 1] for i, row in enumerate(rows)]


def hidden_of_shared(
    model: nn.Module, rows: Sequence[ScoreRow], batch: SharedBatch, image_token_id: int | None
) -> dict[int, Tensor]:
    """Row index -> states (T, D) that predict its completion: one forward over prefixes, then the continuations.

    Raises:
        NotShareable: see the class.
    """
    device = next(model.parameters()).device
    base = causal_model(model).base_model
    order = list(batch.prefixes)
    heads = [rows[row] for row, _ in batch.prefixes.values()]
    lengths = torch.tensor([length for _, length in batch.prefixes.values()], device=device)
    ids, mask = _right_padded(
        [list(head.prompt_ids[:length]) for head, length in zip(heads, lengths.tolist(), strict=True)], device
    )
    vision = _vision([head.images for head in heads], ids, image_token_id)
    positions = _positions(base, ids, mask, vision)
    output = base(input_ids=ids, attention_mask=mask, position_ids=positions, **vision, use_cache=True)
    prefix = output.past_key_values
    if not isinstance(prefix, DynamicCache) or any(type(layer) is not DynamicLayer for layer in prefix.layers):
        raise NotShareable
    # Where text goes on: one past the largest position of the prefix, on every axis.
    reached = positions.masked_fill(mask == 0, -1)
    after = (reached.amax(dim=(0, 2)) if positions.dim() == 3 else reached.amax(dim=1)) + 1
    found: dict[int, Tensor] = {}
    for members in batch.batches:
        place = torch.tensor([order.index(rows[index].group) for index in members], device=device)
        found |= _continue(base, rows, members, place, prefix, mask, after, lengths)
    return found


def _continue(
    base: Any,
    rows: Sequence[ScoreRow],
    members: Sequence[int],
    place: Tensor,
    prefix: DynamicCache,
    prefix_mask: Tensor,
    after: Tensor,
    lengths: Tensor,
) -> dict[int, Tensor]:
    """One forward of rows that continue from their groups' prefixes."""
    starts = lengths[place].tolist()
    tails = [
        [*rows[index].prompt_ids[start:], *rows[index].completion_ids[:-1]]
        for index, start in zip(members, starts, strict=True)
    ]
    ids, mask = _right_padded(tails, prefix_mask.device)
    positions = after[place][:, None] + torch.arange(ids.shape[1], device=ids.device)
    if hasattr(base, "get_rope_index"):
        positions = positions.expand(3, -1, -1)
    cache = DynamicCache()
    for number, layer in enumerate(prefix.layers):
        plain = cast(Any, layer)
        cache.update(plain.keys.index_select(0, place), plain.values.index_select(0, place), number)
    whole_mask = torch.cat([prefix_mask.index_select(0, place), mask], dim=1)
    output = base(
        input_ids=ids, attention_mask=whole_mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    found = {}
    for i, (index, start) in enumerate(zip(members, starts, strict=True)):
        first = len(rows[index].prompt_ids) - start - 1
        found[index] = output[i, first : first + len(rows[index].completion_ids)]
    return found


def _positions(base: Any, ids: Tensor, mask: Tensor, vision: dict[str, Any]) -> Tensor:
    """(B, S), or (3, B, S) for M-RoPE. Explicit, since a model left to itself reuses the last prompt's offset."""
    if not hasattr(base, "get_rope_index"):
        return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    kinds = vision.get("mm_token_type_ids", torch.zeros_like(ids))
    positions, _ = base.get_rope_index(
        ids, mm_token_type_ids=kinds, image_grid_thw=vision.get("image_grid_thw"), attention_mask=mask
    )
    return positions


def _right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask, (B, S). A row's padding is its own first token: never a placeholder without an image."""
    longest = max(map(len, sequences))
    ids = [[*sequence, *[sequence[0]] * (longest - len(sequence))] for sequence in sequences]
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
    return torch.tensor(ids, device=device), mask


def _vision(images: Sequence[Images | None], ids: Tensor, image_token_id: int | None) -> dict[str, Any]:
    """The images' part of a forward's inputs; empty without images."""
    given = [image for image in images if image is not None]
    if not given:
        return {}
    return {
        "pixel_values": torch.cat([image.pixel_values for image in given]).to(ids.device),
        "image_grid_thw": torch.cat([image.grid_thw for image in given]).to(ids.device),
        "mm_token_type_ids": (ids == image_token_id).long(),
    }
