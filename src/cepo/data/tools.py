"""The tools that a recipe can name: functions that the model may call, as TRL takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cepo.errors import SettingError, did_you_mean

__all__ = ["TOOLS", "get_tool"]

TOOLS: dict[str, Callable[..., Any]] = {}
"""Name -> a function with types and a docstring of its arguments, from which TRL makes what the model is told of it.
Files of one's own fill it (`method_files`): what a tool does with a model's words is theirs to bound."""


def get_tool(name: str) -> Callable[..., Any]:
    """The tool of that name.

    Raises:
        SettingError: no such name.
    """
    if name in TOOLS:
        return TOOLS[name]
    known = f"known are {', '.join(sorted(TOOLS))}{did_you_mean(name, TOOLS)}" if TOOLS else "there is none"
    raise SettingError(f"unknown tool {name!r}: {known}; put it into cepo.TOOLS in one of method_files")
