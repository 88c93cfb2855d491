"""The examples in the docstrings are so."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import cepo.answers


def test_examples() -> None:
    attempted = 0
    for module in pkgutil.iter_modules(cepo.answers.__path__):
        found = doctest.testmod(importlib.import_module(f"cepo.answers.{module.name}"))
        assert found.failed == 0, module.name
        attempted += found.attempted
    assert attempted > 20
