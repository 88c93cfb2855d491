"""Images for toys of any architecture: what TRL hands on to a model, in each of its layouts, at toy size.

There is no processor of a toy. Which layout it takes, and how many tokens an image has, is asked of the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from cepo.scoring import Images, OtherImages, RowImages
from cepo.scoring.forward import vision_inputs
from cepo.trainer.batch_images import FIELDS

__all__ = ["not_handed_on", "toy_image"]

HANDED_ON = {"pixel_values", "image_grid_thw", *FIELDS}


def not_handed_on(name: str, model: Any) -> list[str]:
    """What this architecture's image processor gives and its forward takes, and TRL does not hand on in training."""
    known = IMAGE_PROCESSOR_MAPPING_NAMES.get(name) or {}
    processor = getattr(transformers, known.get("pil") or "", None)
    takes = inspect.signature(model.forward).parameters
    given = [one for one in getattr(processor, "model_input_names", ()) if one in takes]
    asked = inspect.signature(_features_of(model)).parameters.values() if _features_of(model) else ()
    given += [one.name for one in asked if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    return sorted({*given} - HANDED_ON)


def toy_image(model: Any) -> tuple[RowImages, list[int], int]:
    """One image that this model takes, its placeholders' ids, and the id of those that stand for the image itself.

    Raises:
        ValueError: it takes none of the layouts; with what it said of the last, a plain picture.
    """
    config, takes = model.config, inspect.signature(model.forward).parameters
    token = getattr(config, "image_token_id", None)
    if token is None:
        token = getattr(config, "image_token_index", 300)
    if "image_grid_thw" in takes:
        return _patches(model, token)
    if hasattr(config, "image_grid_pinpoints"):
        config.image_grid_pinpoints = [[_side(config), 2 * _side(config)]]
    said: list[str] = []
    for fields in _layouts(config, takes):
        try:
            count = _tokens(model, fields)
            own = torch.tensor([[0] * 3 + [1] * count])  # three words stand before the image
            types = {name: own for name in ("token_type_ids", "mm_token_type_ids") if name in takes}
            longer = {name: torch.nn.functional.pad(own, (0, 1)) for name in types}
            with torch.no_grad():
                model(input_ids=torch.tensor([[5, 6, 7, *[token] * count, 8]]), use_cache=False, **fields, **longer)
            return OtherImages(fields, types), [token] * count, token
        except Exception as error:
            said.append(_line(error))
    raise ValueError(said[0])


def _patches(model: Any, token: int) -> tuple[Images, list[int], int]:
    """2 x 2 merged patches of Qwen-VL's layout, each flat, or with the axes of a picture."""
    vision = model.config.vision_config
    merged = [getattr(vision, name, None) for name in ("spatial_merge_size", "merge_kernel_size", "merge_size")]
    side, patch = 2 * next((_first(size) for size in merged if size), 1), _patch(model.config)
    times = getattr(vision, "temporal_patch_size", None) or getattr(vision, "patch_temporal", None) or 1
    channels = getattr(vision, "in_channels", 3)
    said: list[str] = []
    for shape in ([channels * times * patch**2], [channels, patch, patch]):
        images = Images(_noise(side**2, *shape), torch.tensor([[1, side, side]]))
        try:
            count = _tokens(model, {"pixel_values": images.pixel_values, "image_grid_thw": images.grid_thw})
            ids = torch.tensor([[5, 6, 7, *[token] * count, 8]])
            with torch.no_grad():
                model(input_ids=ids, attention_mask=torch.ones_like(ids), **vision_inputs([images], ids, token))
            return images, [token] * count, token
        except Exception as error:
            said.append(_line(error))
    raise ValueError(said[0])


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:140]


def _layouts(config: Any, takes: Any) -> Iterator[dict[str, Tensor]]:
    """What TRL hands on, by the names that the model's forward takes: layouts of images, patches and rows."""
    side, patch = _side(config), _patch(config)
    picture, grid = _noise(1, 3, side, side), max(2, side // patch)
    if "image_sizes" in takes:
        sizes = torch.tensor([[side, side]])
        yield {"pixel_values": _noise(1, 3, 3, side, side), "image_sizes": torch.tensor([[side, 2 * side]])}
        yield {"pixel_values": picture, "image_sizes": sizes}
    if "spatial_shapes" in takes:
        shape = torch.tensor([[grid, grid]])
        yield {"pixel_values": _noise(1, grid**2, 3 * patch**2), "spatial_shapes": shape,
               "pixel_attention_mask": torch.ones(1, grid**2).long()}  # fmt: skip
    if "image_position_ids" in takes:
        places = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(6), indexing="xy"), dim=-1).view(1, -1, 2)
        for pooled in (1, 9):  # patches that are one
            yield {"pixel_values": _noise(1, 36, 3 * patch**2 * pooled), "image_position_ids": places}
    if "pixel_attention_mask" in takes:
        yield {"pixel_values": picture[None], "pixel_attention_mask": torch.ones(1, 1, side, side).long()}
        yield {"pixel_values": picture[None], "pixel_attention_mask": torch.ones(1, 1, dtype=torch.bool)}  # of tiles
    yield {"pixel_values": picture}


def _tokens(model: Any, fields: dict[str, Tensor]) -> int:
    """How many tokens the model puts this image in place of."""
    ask = _features_of(model)
    if ask is None:
        raise ValueError("it has no get_image_features")
    known = inspect.signature(ask).parameters
    given = {name: value for name, value in fields.items() if name in known}
    with torch.no_grad():
        found = ask(**given)
    pooled = getattr(found, "pooler_output", found)
    features = found.last_hidden_state if pooled is None else pooled
    parts = [features] if isinstance(features, Tensor) else list(features)
    return sum(part.numel() for part in parts) // model.config.get_text_config().hidden_size


def _features_of(model: Any) -> Any:
    """The function that makes an image's features; the inner one, which names what it cannot do without."""
    parts = (getattr(model, "model", None), model)
    return next((part.get_image_features for part in parts if hasattr(part, "get_image_features")), None)


def _side(config: Any) -> int:
    return _first(getattr(getattr(config, "vision_config", config), "image_size", 28))


def _patch(config: Any) -> int:
    return _first(getattr(getattr(config, "vision_config", config), "patch_size", 14))


def _first(size: Any) -> int:
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
