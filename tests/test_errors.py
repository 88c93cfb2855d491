"""One tree of errors, and the one suggestion of a similar name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cepo import errors
from cepo.errors import CepoError, did_you_mean

KINDS = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_script_may_catch_ours_or_the_standard_class(kind: type[Exception]) -> None:
    assert issubclass(kind, CepoError)
    if kind is not CepoError:
        assert issubclass(kind, (ValueError, OSError, RuntimeError, ImportError))
    assert str(kind("it names the value")) == "it names the value"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("learning_rat", "; did you mean 'learning_rate'?"),
        ("Seed", "; did you mean 'seed'?"),
        ("learning", "; did you mean 'learning_rate'?"),
        ("qqq", ""),
    ],
)
def test_the_nearest_name(name: str, said: str) -> None:
    assert did_you_mean(name, ["seed", "learning_rate", "max_steps"]) == said
    assert did_you_mean(name, []) == ""


def test_errors_open_without_torch() -> None:
    code = "import sys, cepo.errors; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
