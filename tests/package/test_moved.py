"""An old name of a module is answered with the new one, on import and under `python -m`."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from cepo._moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items(), ids=lambda name: name)
def test_the_new_name_is_there(old: str, new: str) -> None:
    assert find_spec(new) is not None
    with pytest.raises(ImportError, match=f"^the module {old} has moved: import {new} instead$"):
        import_module(old)


def test_a_name_within_a_package_that_is_gone() -> None:
    with pytest.raises(ImportError, match=r"import cepo\.trainer\.trainer instead"):
        exec("from cepo.training.trainer import CEPOTrainer")
    with pytest.raises(ImportError, match=r"import cepo\.data\.rewards instead"):
        exec("from cepo.tasks import rewards")
    with pytest.raises(ImportError, match=r"import cepo\.lab\.audit instead"):
        exec("import cepo.audit.run")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'cepo\.never'"):
        import_module("cepo.never")


def test_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "cepo.warm_start"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "import cepo.lab.warm_start instead" in line
