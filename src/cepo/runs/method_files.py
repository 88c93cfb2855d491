"""Methods of one's own for recipes: Python files that `register` them, run before a recipe's method is looked up."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from cepo.credit import rules
from cepo.errors import RuleError

__all__ = ["run_method_files"]


def run_method_files(paths: Sequence[str]) -> None:
    """Run each file; its code runs with the user's rights, as any script does.

    Raises:
        RuleError: no such file, one that fails, one after which no method is new or renewed, or two of one name, of
            which the run folder could keep one.
    """
    names = [Path(path).name for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RuleError(f"method_files: two files are named {min(twice)}; rename one")
    for path in map(Path, paths):
        if not path.is_file():
            raise RuleError(f"method_files: there is no file {path} (relative to {Path.cwd()})")
        before = dict(rules.METHODS)
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
        if all(before.get(key) is method for key, method in rules.METHODS.items()):
            raise RuleError(f"method_files: {path} registers no method: call cepo.register(Rule(...)) in it")
