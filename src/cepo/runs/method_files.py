"""Methods, rewards and tools of one's own for recipes: Python files that register them, run before a recipe is read."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cepo.credit import rules
from cepo.data.rewards import REWARDS
from cepo.data.tools import TOOLS
from cepo.errors import RuleError

__all__ = ["run_method_files"]

_REGISTERED: tuple[Mapping[str, object], ...] = (rules.METHODS, REWARDS, TOOLS)


def run_method_files(paths: Sequence[str]) -> None:
    """Run each file; its code runs with the user's rights, as any script does.

    Raises:
        RuleError: no such file, one that fails, one after which nothing is new or renewed, or two of one name, of
            which the run folder could keep one.
    """
    names = [Path(path).name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RuleError(f"method_files: two files are named {min(twice)}; rename one")
    for path in map(Path, paths):
        if not path.is_file():
            raise RuleError(f"method_files: there is no file {path} (relative to {Path.cwd()})")
        before = [dict(registered) for registered in _REGISTERED]
        name = f"cepo_method_file_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RuleError(f"method_files: {path} is no Python file; its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise RuleError(f"method_files: {path} failed: {type(error).__name__}: {error}") from error
        if not any(_differ(old, new) for old, new in zip(before, _REGISTERED, strict=True)):
            raise RuleError(
                f"method_files: {path} registers no method, reward or tool: call cepo.register(Rule(...)) in it, or "
                "put a function into cepo.REWARDS or cepo.TOOLS"
            )


def _differ(old: Mapping[str, object], new: Mapping[str, object]) -> bool:
    return any(old.get(name) is not value for name, value in new.items())
