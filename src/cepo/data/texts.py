"""Values of a column as the text that the grader and the model read: by the column's type, not by Python's `str`."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import ClassLabel, Features, Value

from cepo.errors import DataError

__all__ = ["check_writable", "typed"]

_NOISE = 5
"""Digits by which rounding noise makes a double's text longer: 0.30000000000000004 is 0.3."""


def typed(row: Mapping[str, Any], features: Features) -> dict[str, Any]:
    """A row whose numbers, labels and dates are text, as their column's type says; anything else as it is.

    A class label becomes its name. A float becomes the shortest text that reads back at the column's own precision
    (0.1 of a float32 column is 0.1, and 18.0, which an integer column with nulls is stored as, is 18); of a double
    that ends in rounding noise the 15 digits that a double is good for. Decimals lose trailing zeros, dates are ISO's.
    """
    return {name: _text(value, features.get(name)) for name, value in row.items()}


def _text(value: Any, kind: Any) -> Any:
    if value is None or isinstance(value, str | bool | list | dict):
        return value
    if isinstance(kind, ClassLabel):
        return kind.names[value] if 0 <= value < len(kind.names) else None
    if isinstance(value, float):
        return _of_float(value, kind.dtype if isinstance(kind, Value) else "float64")
    if isinstance(value, decimal.Decimal):
        return _plain(value) if value.is_finite() else value
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _of_float(value: float, dtype: str) -> object:
    number = {"float16": np.float16, "float32": np.float32}.get(dtype, np.float64)(value)
    if not np.isfinite(number):
        return value
    text = str(number)
    if dtype == "float64" and len(rounded := f"{value:.15g}") + _NOISE < len(text):
        text = rounded
    return _plain(decimal.Decimal(text))


def _plain(number: decimal.Decimal) -> str:
    """Without exponent where it is short, without trailing zeros."""
    number = number.normalize() if number else decimal.Decimal(0)
    return f"{number:f}" if -20 < number.adjusted() < 20 else str(number)


def check_writable(value: object, where: str) -> None:
    """Raise DataError where a text (in messages too) holds half of a character, which no file can hold."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where} holds {value[error.start]!a} at character {error.start}, a lone surrogate: half of a "
                "character, which cannot be written. Remove it"
            ) from None
    elif isinstance(value, list):
        for part in value:
            check_writable(part, where)
    elif isinstance(value, Mapping):
        for part in value.values():
            check_writable(part, where)
