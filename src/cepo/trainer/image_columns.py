"""The images of a data set's rows, counted and measured without decoding one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import PIL.Image
from datasets import Dataset

__all__ = ["Size", "image_column", "image_counts", "sizes_of_images"]

Size = tuple[int, int]
"""Height and width of an image."""


def image_column(dataset: Dataset) -> str | None:
    """Where a data set's images are; None: it has none."""
    return next((name for name in ("images", "image") if name in dataset.column_names), None)


def image_counts(dataset: Dataset, indices: Sequence[int], column: str | None) -> list[int]:
    """Images of these rows."""
    if column is None or not indices:
        return [0] * len(indices)
    stored = dataset.select(indices).select_columns([column]).with_format("arrow")
    values = [value for batch in stored.iter(batch_size=64) for value in cast(Any, batch)[column]]
    if column == "image":
        return [int(value.is_valid) for value in values]
    return [len(value) if value.is_valid else 0 for value in values]


def sizes_of_images(dataset: Dataset, column: str | None) -> list[list[Size]]:
    """Of each row's images, from their headers."""
    if column is None:
        return [[] for _ in range(len(dataset))]
    found: list[list[Size]] = []
    for batch in dataset.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for value in cast(Any, batch)[column].to_pylist():
            images = value if isinstance(value, list) else [] if value is None else [value]
            found.append([_size(image) for image in images])
    return found


def _size(image: Mapping[str, Any]) -> Size:
    where = io.BytesIO(image["bytes"]) if image.get("bytes") is not None else image["path"]
    with PIL.Image.open(where) as opened:
        return opened.height, opened.width
