"""Images in TRL's batch: which part of its tensors is whose row's, in every layout that TRL trains.

In Qwen-VL's, `image_grid_thw` says how many patches an image has. In the others a row has one element for each of its
images (LLaVA, LLaVA-Next, Gemma), one for each tile that they are cut into (`num_tiles`: InternVL, LFM2-VL), or one in
all, padded to the row with most images (Idefics, SmolVLM).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cepo.errors import ModelError
from cepo.scoring import Images, OtherImages, RowImages

__all__ = [
    "fields_of", "image_inputs", "image_tensors", "images_of_prompt", "images_of_rows", "is_one_per_row",
    "is_other_layout", "joined", "same_images", "with_images_of_rows",
]  # fmt: skip

FIELDS = ("pixel_values", "pixel_attention_mask", "spatial_shapes", "image_sizes", "image_position_ids")
"""What TRL hands on to the model in layouts other than Qwen-VL's."""

TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")
_OF_IMAGES = ("image_sizes", "image_position_ids")
_OF_TEXT = ("input_ids", "attention_mask", "labels")


def images_of_rows(raw: Mapping[str, Any]) -> list[RowImages | None]:
    """Each row's images.

    Raises:
        ModelError: a tensor whose elements are not as many as those of its rows.
    """
    if "pixel_values" not in raw:
        return [None] * len(raw["prompt_ids"])
    counts: list[int] = raw["num_images"]
    if "image_grid_thw" in raw:
        grids = raw["image_grid_thw"].split(counts)
        pixels = raw["pixel_values"].split([int(grid.prod(dim=-1).sum()) for grid in grids])
        parts = zip(counts, pixels, grids, strict=True)
        return [Images(own, grid) if count else None for count, own, grid in parts]
    parts = {name: _split(name, raw[name], sizes) for name, sizes in _elements(raw).items()}
    return [
        OtherImages({name: part[row] for name, part in parts.items()}, _types_of_row(raw, row)) if count else None
        for row, count in enumerate(counts)
    ]


def _elements(raw: Mapping[str, Any]) -> dict[str, list[int]]:
    """Entry -> how many of its elements each row has."""
    of_images: list[int] = raw["num_images"]
    of_pixels = raw.get("num_tiles") or ([1] * len(of_images) if is_one_per_row(raw) else of_images)
    return {
        name: of_images if name in _OF_IMAGES else of_pixels for name in FIELDS if raw.get(name) is not None
    }  # fmt: skip


def is_one_per_row(fields: Mapping[str, Any]) -> bool:
    """Whether a row's images are one element, padded to those of the row with most."""
    return fields.get("pixel_attention_mask") is not None and fields.get("spatial_shapes") is None


def _split(name: str, value: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    if sum(sizes) != len(value):
        raise ModelError(
            f"the generated batch has {len(value)} {name} for {sum(sizes)} images or tiles of its rows: whose they are "
            "cannot be said; use method='grpo' with this model"
        )
    return value.split(list(sizes))


def _types_of_row(raw: Mapping[str, Any], row: int) -> dict[str, Tensor]:
    mask_P = raw["prompt_mask"][row].bool()
    named = {name: raw[name][row, : len(mask_P)] for name in TOKEN_TYPES if raw.get(name) is not None}
    return {name: _trimmed(types_P[mask_P]) for name, types_P in named.items()}


def _trimmed(types_P: Tensor) -> Tensor:
    """Token types of a prompt, (1, L), up to the last that is not text."""
    length = int(types_P.nonzero().max()) + 1 if types_P.any() else 0
    return types_P[None, :length]


def images_of_prompt(fields: Mapping[str, Any]) -> RowImages | None:
    """Images of one prompt among the fields that its processor gives, as `fields_of` gives them back.

    Raises:
        ModelError: fields that TRL does not hand on to the model.
    """
    if "pixel_values" not in fields:
        return None
    if "image_grid_thw" in fields:
        return Images(torch.as_tensor(fields["pixel_values"]), torch.as_tensor(fields["image_grid_thw"]))
    if unknown := sorted(fields.keys() - {*FIELDS, *TOKEN_TYPES, *_OF_TEXT}):
        raise ModelError(
            f"this model's processor gives {', '.join(unknown)} with its images, which TRL does not hand on to "
            "training: the model would be trained on other inputs than it generates from, by method='grpo' too; take "
            "its images out of the data"
        )
    own = image_tensors(fields)
    types = {name: _trimmed(_tensor(fields[name]).flatten()) for name in TOKEN_TYPES if name in fields}
    return OtherImages(own, types)


def image_tensors(fields: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a processor gives of the images of a prompt, or of several."""
    return {name: _tensor(fields[name]) for name in FIELDS if name in fields}


def _tensor(value: Any) -> Tensor:
    """A field as a processor gives it: a tensor, or lists of arrays."""
    return value if isinstance(value, Tensor) else torch.tensor(np.array(value))


def fields_of(images: RowImages | None) -> dict[str, Tensor] | None:
    """The images as plain tensors by name, as a batch can carry them."""
    if images is None:
        return None
    if isinstance(images, Images):
        return {"pixel_values": images.pixel_values, "image_grid_thw": images.grid_thw}
    return {**images.fields, **images.token_types}


def image_inputs(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a forward over all rows of a batch is given beside ids and mask, as TRL gives it."""
    if "pixel_values" not in raw:
        return {}
    names = (*FIELDS, *TOKEN_TYPES, "image_grid_thw")
    return {name: raw[name] for name in names if raw.get(name) is not None}


def is_other_layout(fields: Mapping[str, Any]) -> bool:
    """Whether there are images, in another layout than Qwen-VL's."""
    return fields.get("pixel_values") is not None and fields.get("image_grid_thw") is None


def with_images_of_rows(inputs: Mapping[str, Any], image_token_id: int | None) -> Mapping[str, Any]:
    """Inputs of a forward, without what goes with images where no row has one."""
    if (inputs["input_ids"] == image_token_id).any():
        return inputs
    return {name: value for name, value in inputs.items() if name not in (*FIELDS, *TOKEN_TYPES)}


def joined(images: Sequence[RowImages | None]) -> dict[str, Tensor]:
    """The tensors of a batch of these rows."""
    given = [image for image in images if image is not None]
    if not given:
        return {}
    if isinstance(given[0], Images):
        own = cast(list[Images], given)
        pixels, grids = [image.pixel_values for image in own], [image.grid_thw for image in own]
        return {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.cat(grids)}
    others, first = cast(list[OtherImages | None], images), cast(OtherImages, given[0])
    if is_one_per_row(first.fields):
        nothing = OtherImages({name: value.new_zeros([1] * value.dim()) for name, value in first.fields.items()}, {})
        others = [image or nothing for image in others]
    kept = [image.fields for image in others if image is not None]
    return {name: _padded([fields[name] for fields in kept]) for name in first.fields}


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Tensors one after the other, with zeros where one is smaller than another, as processors pad them."""
    shape = [max(part.shape[axis] for part in parts) for axis in range(1, parts[0].dim())]
    return torch.cat([_grown(part, shape) for part in parts])


def _grown(part: Tensor, shape: Sequence[int]) -> Tensor:
    more = [size - own for size, own in zip(shape, part.shape[1:], strict=True)]
    return F.pad(part, [side for count in reversed(more) for side in (0, count)])


def same_images(one: RowImages | None, other: RowImages | None) -> bool:
    """Whether two are the same but for padding with zeros."""
    first, second = fields_of(one), fields_of(other)
    if first is None or second is None:
        return first is second
    return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)


def _same(one: Tensor, other: Tensor) -> bool:
    other = other.to(one.device, one.dtype)
    if one.dim() != other.dim() or len(one) != len(other):
        return False
    shape = [max(sizes) for sizes in zip(one.shape[1:], other.shape[1:], strict=True)]
    return torch.equal(_grown(one, shape), _grown(other, shape))
