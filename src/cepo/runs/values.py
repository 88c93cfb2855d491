"""The texts of a recipe or of the command line as values of a dataclass's fields: a field's own type decides.

YAML is read with every scalar as text (see `recipe`), so that `no`, 1e-6 and 007 are what the field makes of them.
"""

from __future__ import annotations

import json
import types
from collections.abc import Hashable, Mapping
from dataclasses import fields
from enum import Enum
from functools import lru_cache
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cepo.errors import SettingError, did_you_mean

__all__ = ["build", "field_names"]

T = TypeVar("T")
_NOTHING = (None, "", "null")
"""What gives a field its default back."""

_WANTED = {
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "list_type": "a list, [a, b]",
    "string_type": "one text (in a recipe: in quotation marks where it begins with [ or {)",
}
"""pydantic's kind of an error -> what to write instead."""


def field_names(*kinds: type) -> set[str]:
    """The names that a recipe for these dataclasses may use."""
    return {entry.name for kind in kinds for entry in fields(kind) if entry.init}


def build(kind: type[T], given: Mapping[str, object]) -> T:
    """The dataclass with those of the given values that are its fields.

    Raises:
        SettingError: a value that its field cannot take, or that the class itself refuses.
    """
    values = {
        name: _read(kind, name, given[name]) for name in field_names(kind) & set(given) if given[name] not in _NOTHING
    }
    try:
        return kind(**values)
    except ValueError as error:  # what `__post_init__` checks, in our classes and in the hosts'
        raise SettingError(str(error)) from error


def _read(kind: type, name: str, value: object) -> object:
    """The value as the first option of the field's type takes it."""
    options = _options(kind, name)
    if isinstance(value, Mapping):
        value = _typed(value)
        if str in options and not any(_is(dict, option) for option in options):
            value = json.dumps(value)
    elif not isinstance(value, list) and any(_is(list, option) for option in options) and str not in options:
        value = [value]
    said = ""
    for option in options:
        try:
            return _adapter(option).validate_python(value)
        except ValidationError as error:
            said = _explained(error.errors()[0])
    raise SettingError(f"field {name}: {said}")


def _options(kind: type, name: str) -> list[object]:
    """The types that a field may have; text is the last, and gives way to an Enum that lists the words."""
    hint = _hints(kind)[name]
    options = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    listed = any(isinstance(option, type) and issubclass(option, Enum) for option in options)
    kept = [option for option in options if option is not type(None) and not (listed and option is str)]
    return sorted(kept, key=lambda option: option is str)


def _is(kind: type, option: object) -> bool:
    return option is kind or get_origin(option) is kind


def _explained(error: ErrorDetails) -> str:
    got = f"got {error['input']!r}"
    if error["type"] in ("enum", "literal_error"):
        known = str(error.get("ctx", {}).get("expected", ""))
        near = did_you_mean(str(error["input"]), known.replace("'", "").replace(" or ", ", ").split(", "))
        return got + (near or f", expected {known}")
    return f"{got}, expected {_WANTED.get(error['type'], error['msg'])}"


@lru_cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


@lru_cache
def _adapter(option: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(option)  # pyright: ignore[reportArgumentType]


def _typed(value: object) -> object:
    """What stands inside of a mapping, where no field's type can decide: JSON's numbers, true, false and null."""
    if isinstance(value, Mapping):
        return {name: _typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value
