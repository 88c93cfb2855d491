"""Images given to the trainer as text (a path, an address, base64), as TRL and transformers take them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset, Features, Image, IterableDataset, List, Value
from transformers.image_utils import load_image

from cepo.data.images import encode_image
from cepo.errors import DataError

__all__ = ["with_pictures"]

_ADDRESSES = ("http://", "https://")
TIMEOUT_S = 60.0
"""Of one address. All are fetched before the training starts, and kept by `datasets` on disk."""
_COLUMNS = ("images", "image", "teacher_images")
_STORED = {"path": Value("string"), "bytes": Value("binary")}
"""How `datasets` keeps an image that nobody has looked at."""


def with_pictures(dataset: Any) -> Any:
    """The data with text in the columns `images`, `image` and `teacher_images` made into images; what is one stays.

    Raises:
        DataError: a text that is no file, no address and no base64, or no image, with its row; of a stream's rows when
            they come.
    """
    if isinstance(dataset, Dataset):
        return _of_rows(dataset)
    return dataset.map(_opened) if isinstance(dataset, IterableDataset) else dataset


def _of_rows(dataset: Dataset) -> Any:
    for column in _COLUMNS:
        kind = dataset.features.get(column)
        many = isinstance(kind, List)
        one = kind.feature if many else kind
        if not isinstance(one, Value) or one.dtype not in ("string", "large_string"):
            continue

        def stored(row: Mapping[str, Any], index: int, column: str = column) -> dict[str, Any]:
            return {column: _each(row[column], lambda text: _stored(text, index))}

        features = Features({**dataset.features, column: List(_STORED) if many else _STORED})
        dataset = dataset.map(stored, with_indices=True, features=features)
        dataset = dataset.cast_column(column, List(Image()) if many else Image())  # pyright: ignore[reportArgumentType]
    return dataset


def _opened(row: Mapping[str, Any]) -> dict[str, Any]:
    def opened(given: object) -> object:
        return load_image(given) if isinstance(given, str) else given

    return {column: _each(row[column], opened) for column in _COLUMNS if column in row}


def _each(value: Any, change: Callable[[Any], object]) -> object:
    if value is None:
        return None
    return [change(one) for one in value] if isinstance(value, list) else change(value)


def _stored(text: str, row: int) -> object:
    try:
        return encode_image(_fetched(text) if text.startswith(_ADDRESSES) else _decoded(text) or text, None)
    except DataError as error:
        raise DataError(f"row {row}: {error}") from None


def _fetched(address: str) -> object:
    try:
        return load_image(address, timeout=TIMEOUT_S)
    except Exception as error:  # whatever lies between here and there
        raise DataError(f"image {address!r}: it cannot be fetched: {type(error).__name__}: {error}") from error


def _decoded(text: str) -> bytes | None:
    """The bytes of base64, with `data:image/..;base64,` before it or without; None: another text."""
    if not text.startswith("data:") and len(text) < 256:
        return None  # no picture is so small; `a.png` is a path
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return None
