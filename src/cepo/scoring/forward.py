"""Forwards that score: rows that continue from shared prefixes, and whole rows."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from cepo.scoring.head import Reading, Target, captured_states, read_tokens
from cepo.scoring.lengths import turning_length
from cepo.scoring.models import ModelInputs, causal_model
from cepo.scoring.plan import Forwards, Plan, SharedBatch
from cepo.scoring.rows import Images, OtherImages, RowImages, ScoreRow

__all__ = ["causal_model", "continues_from_prefixes", "hidden_of_whole", "read_whole", "run_plan", "vision_inputs"]


def continues_from_prefixes(model: nn.Module) -> bool:
    """Whether every layer keeps a plain cache of keys and values; not with sliding windows or recurrent states, nor in
    a model of several stacks (BLT), whose config has no layers of its own."""
    config = causal_model(model).config.get_text_config()
    if not hasattr(config, "num_hidden_layers"):
        return False
    layers = DynamicCache(config=config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def run_plan(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    plan: Plan,
    forwards: Forwards | None,
    image_token_id: int | None,
    reading: Reading,
) -> Iterator[dict[int, Tensor]]:
    """Row index -> what is read of its completion (T,), a batch at a time.

    Given `forwards`, so many are run: first those with images, then those without. Processes that share sharded
    weights thus run the vision tower equally often and at the same time; one with too few rows adds empty ones.
    """
    wanted = forwards or plan.forwards
    seeing = [batch for batch in plan.shared if batch.has_images]
    encoded = ((batch, _encode(model, rows, batch, image_token_id, reading)) for batch in seeing)
    if forwards is not None:
        encoded = list(encoded)
    yield from _run_whole(model, rows, plan.whole[0], image_token_id, reading)
    for _ in range(plan.forwards.with_images, wanted.with_images):
        read_whole(model, [_image_of_nothing(model, image_token_id)], image_token_id, reading)
    for batch, prefix in encoded:
        yield from _continue(model, rows, batch, prefix, reading)
    for batch in plan.shared:
        if not batch.has_images:
            prefix = _encode(model, rows, batch, image_token_id, reading)
            yield from _continue(model, rows, batch, prefix, reading)
    yield from _run_whole(model, rows, plan.whole[1], image_token_id, reading)
    for _ in range(plan.forwards.without, wanted.without):
        read_whole(model, [ScoreRow([0], [])], image_token_id, reading)


def read_whole(
    model: nn.Module, rows: Sequence[ScoreRow], image_token_id: int | None, reading: Reading
) -> list[Tensor]:
    """For each row what is read of its completion (T,); one forward over right-padded rows."""
    targets = [Target(i, len(row.prompt_ids) - 1, row.completion_ids) for i, row in enumerate(rows)]
    inputs = _whole_inputs(model, rows, image_token_id)
    return read_tokens(model, inputs | {"use_cache": False}, targets, reading)[0]


def hidden_of_whole(model: nn.Module, rows: Sequence[ScoreRow], image_token_id: int | None) -> list[Tensor]:
    """For each row the states (T, D) that predict its completion; one forward over right-padded rows, or one for each
    where images are in another layout than Qwen-VL's, or rows so long that the model turns positions otherwise."""
    turning = turning_length(model)
    apart = [isinstance(row.images, OtherImages) or (turning is not None and row.length > turning) for row in rows]
    if len(rows) > 1 and any(apart):
        return [state for row in rows for state in hidden_of_whole(model, [row], image_token_id)]
    inputs = _whole_inputs(model, rows, image_token_id)
    with captured_states(model) as states:
        model(**inputs, use_cache=False)
    output = states[0]
    return [output[i, len(row.prompt_ids) - 1 : row.length - 1] for i, row in enumerate(rows)]


@dataclass(frozen=True, slots=True)
class _Prefix:
    """Encoded beginnings of prompts: the cache, its mask (P, S), and each one's length and next position.

    `place`: group, or row whose stem is encoded -> index. `axes`: of M-RoPE's positions; 0: plain ones.
    """

    place: Mapping[Hashable, int]
    cache: DynamicCache
    mask_PS: Tensor
    lengths: Sequence[int]
    after: Tensor
    axes: int


def _encode(
    model: nn.Module, rows: Sequence[ScoreRow], batch: SharedBatch, image_token_id: int | None, reading: Reading
) -> _Prefix:
    """One forward over the prefixes of a batch."""
    heads = [rows[row] for row, _ in batch.prefixes.values()]
    lengths = [length for _, length in batch.prefixes.values()]
    sequences = [list(head.prompt_ids[:length]) for head, length in zip(heads, lengths, strict=True)]
    ids, mask = _right_padded(sequences, next(model.parameters()).device)
    vision = vision_inputs([head.images for head in heads], ids, image_token_id)
    positions = _positions(causal_model(model).base_model, ids, mask, vision)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": True} | vision
    cache = read_tokens(model, inputs, [], reading)[1].past_key_values
    # Where text goes on: one past the largest position of the prefix, on every axis.
    reached = positions.masked_fill(mask == 0, -1)
    after = (reached.amax(dim=(0, 2)) if positions.dim() == 3 else reached.amax(dim=1)) + 1
    place = {group: index for index, group in enumerate(batch.prefixes)}
    return _Prefix(place, cache, mask, lengths, after, len(positions) if positions.dim() == 3 else 0)


def _continue(
    model: nn.Module, rows: Sequence[ScoreRow], batch: SharedBatch, prefix: _Prefix, reading: Reading
) -> Iterator[dict[int, Tensor]]:
    """One forward for each batch of rows that continue, after one over the stems that they share."""
    if batch.stems:
        prefix = _with_stems(model, rows, batch, prefix, reading)
    for members in batch.batches:
        places = [prefix.place[batch.stems[index] if batch.stems else rows[index].group] for index in members]
        continuing = [(rows[index], prefix.lengths[place]) for index, place in zip(members, places, strict=True)]
        targets = [Target(i, len(r.prompt_ids) - n - 1, r.completion_ids) for i, (r, n) in enumerate(continuing)]
        sequences = [[*row.prompt_ids[n:], *row.completion_ids[:-1]] for row, n in continuing]
        inputs = _continuing_inputs(sequences, torch.tensor(places, device=prefix.after.device), prefix)
        yield dict(zip(members, read_tokens(model, inputs, targets, reading)[0], strict=True))


def _with_stems(
    model: nn.Module, rows: Sequence[ScoreRow], batch: SharedBatch, prefix: _Prefix, reading: Reading
) -> _Prefix:
    """One forward over the stems: prompts less their last token, which predicts the first of a completion."""
    encoded = list(dict.fromkeys(batch.stems.values()))
    place = [prefix.place[rows[index].group] for index in encoded]
    prompts = [rows[index].prompt_ids[:-1] for index in encoded]
    stems = [prompt[prefix.lengths[at] :] for prompt, at in zip(prompts, place, strict=True)]
    inputs = _continuing_inputs(stems, torch.tensor(place, device=prefix.after.device), prefix)
    cache = read_tokens(model, inputs, [], reading)[1].past_key_values
    lengths = torch.tensor([len(stem) for stem in stems], device=prefix.after.device)
    return _Prefix(
        place={index: at for at, index in enumerate(encoded)},
        cache=cache,
        mask_PS=inputs["attention_mask"],
        lengths=[len(prompt) for prompt in prompts],
        after=prefix.after[place] + lengths,
        axes=prefix.axes,
    )


def _continuing_inputs(sequences: Sequence[Sequence[int]], place: Tensor, prefix: _Prefix) -> ModelInputs:
    """A batch of sequences, each of which continues from `place` in `prefix`."""
    ids, mask = _right_padded(sequences, place.device)
    # Padding stands where its row ends: no forward reaches further than its longest row.
    positions = prefix.after[place][:, None] + (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache()
    for number, layer in enumerate(prefix.cache.layers):
        plain = cast(Any, layer)
        cache.update(plain.keys.index_select(0, place), plain.values.index_select(0, place), number)
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([prefix.mask_PS.index_select(0, place), mask], dim=1),
        "position_ids": positions.expand(prefix.axes, -1, -1) if prefix.axes else positions,
        "past_key_values": cache,
        "use_cache": True,
    }


def _run_whole(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    batches: Sequence[Sequence[int]],
    image_token_id: int | None,
    reading: Reading,
) -> Iterator[dict[int, Tensor]]:
    for members in batches:
        found = read_whole(model, [rows[index] for index in members], image_token_id, reading)
        yield dict(zip(members, found, strict=True))


def _image_of_nothing(model: nn.Module, image_token_id: int | None) -> ScoreRow:
    """A prompt of one blank image in Qwen-VL's layout, the smallest there is."""
    if image_token_id is None:
        raise ValueError("other processes score images; this one was given no image_token_id")
    vision = causal_model(model).config.vision_config
    side = vision.spatial_merge_size
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return ScoreRow([image_token_id, 0], [], Images(torch.zeros(side**2, patch), torch.tensor([[1, side, side]])))


def _whole_inputs(model: nn.Module, rows: Sequence[ScoreRow], image_token_id: int | None) -> ModelInputs:
    device = next(model.parameters()).device
    ids, mask = _right_padded([[*row.prompt_ids, *row.completion_ids] for row in rows], device)
    vision = vision_inputs([row.images for row in rows], ids, image_token_id)
    inputs = {"input_ids": ids, "attention_mask": mask} | vision
    base = causal_model(model).base_model
    if hasattr(base, "get_rope_index"):  # left to itself such a model goes on from the last prompt's offset
        inputs["position_ids"] = _positions(base, ids, mask, vision)
    return inputs


def _positions(base: Any, ids: Tensor, mask: Tensor, vision: ModelInputs) -> Tensor:
    """(B, S), or (axes, B, S) for M-RoPE."""
    if not hasattr(base, "get_rope_index"):
        return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    given = {"image_grid_thw": vision.get("image_grid_thw"), "attention_mask": mask}
    if "mm_token_type_ids" in inspect.signature(base.get_rope_index).parameters:  # else told from the ids
        given["mm_token_type_ids"] = vision.get("mm_token_type_ids", torch.zeros_like(ids))
    return base.get_rope_index(ids, **given)[0]


def _right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask, (B, S). Rows are padded with their own first token, so that no placeholder of an image
    comes without its image. A row without tokens is padded with the first token of another.
    """
    longest = max(map(len, sequences))
    other = next(sequence[0] for sequence in sequences if sequence)
    ids = [[*sequence, *[(sequence or [other])[0]] * (longest - len(sequence))] for sequence in sequences]
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
    return torch.tensor(ids, device=device), mask


def vision_inputs(images: Sequence[RowImages | None], ids: Tensor, image_token_id: int | None) -> ModelInputs:
    """The images' part of a forward's inputs; empty without images.

    Raises:
        ValueError: images in another layout than Qwen-VL's that are not one row's: `make_plan` keeps them apart.
    """
    given = [image for image in images if image is not None]
    if not given:
        return {}
    if any(isinstance(image, OtherImages) for image in given):
        return _of_one_row(images, ids)
    own = [image for image in given if isinstance(image, Images)]
    return {
        "pixel_values": torch.cat([image.pixel_values for image in own]).to(ids.device),
        "image_grid_thw": torch.cat([image.grid_thw for image in own]).to(ids.device),
        "mm_token_type_ids": (ids == image_token_id).long(),
    }


def _of_one_row(images: Sequence[RowImages | None], ids: Tensor) -> ModelInputs:
    if len(images) != 1 or not isinstance(images[0], OtherImages):
        raise ValueError("images in another layout than Qwen-VL's go through the model a row at a time")
    inputs = {name: value.to(ids.device) for name, value in images[0].fields.items()}
    for name, own in images[0].token_types.items():
        known = own[:, : ids.shape[1]].to(ids.device)
        inputs[name] = torch.nn.functional.pad(known, (0, ids.shape[1] - known.shape[1]))
    return inputs
