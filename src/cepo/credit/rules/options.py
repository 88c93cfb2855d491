"""A rule's own settings: `rule_options: {beta: 0.5}` as the record that the rule declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from cepo.credit.rules.distillations import Distillation
from cepo.credit.rules.rule import Rule
from cepo.errors import RuleError, SettingError, did_you_mean

__all__ = ["check_options", "read_options"]

_WANTED = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}
"""Types that an option may have -> what to write."""


def read_options(method: Rule | Distillation, given: object) -> object | None:
    """The method's options with the given ones in place of its defaults; None: it has none, and none are given.

    Args:
        given: name -> value, the same as JSON, a record of the method's own, or None.

    Raises:
        SettingError: an option that the method does not have, or a value that it cannot take.
    """
    kind = method.options if isinstance(method, Rule) else None
    if kind is not None and isinstance(given, kind):
        return given
    values = _mapping(given)
    if kind is None:
        if values:
            raise SettingError(f"rule_options={values}: method {method.name!r} has no options")
        return None
    known = get_type_hints(kind)
    for name in values:
        if name not in known:
            raise SettingError(
                f"rule_options: method {method.name!r} has no option {name!r} (it has {', '.join(known)})"
                f"{did_you_mean(name, known)}"
            )
    return kind(**{name: _value(name, known[name], value) for name, value in values.items()})


def check_options(rule: Rule) -> None:
    """Raise RuleError where the declared record could not be set from a recipe."""
    kind = rule.options
    if kind is None:
        return
    params = getattr(kind, "__dataclass_params__", None)
    if not is_dataclass(kind) or params is None or not params.frozen:
        raise RuleError(f"rule {rule.name!r}: `options` must be a frozen dataclass, got {kind.__name__}")
    hints = get_type_hints(kind)
    for entry in fields(kind):
        if hints[entry.name] not in _WANTED:
            raise RuleError(
                f"rule {rule.name!r}: option {entry.name!r} must be a float, int, bool or str, got {entry.type}"
            )
    try:
        kind()
    except Exception as error:
        raise RuleError(f"rule {rule.name!r}: its options need a default each ({error})") from error


def _mapping(given: object) -> Mapping[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except json.JSONDecodeError:
            raise SettingError(f'rule_options={given!r} is no mapping; write {{"name": value}}') from None
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SettingError(f'rule_options={given!r} is no mapping; write {{"name": value}}')
    return given


def _value(name: str, kind: type, value: object) -> object:
    """The value as the option's type; a recipe may have left it as text."""
    if isinstance(value, str) and kind is not str:
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise SettingError(f"rule_options: {name} must be {_WANTED[kind]}, got {value!r}")
    return value
