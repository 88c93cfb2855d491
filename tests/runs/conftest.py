"""Runs of a very small model, in this process or in a forked one."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from cepo.cli import main
from cepo.data.rewards import REWARDS
from tests.runs.small import write_recipe

Train = Callable[..., int]


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("small"))


@pytest.fixture(autouse=True)
def forgotten(own_registrations: None) -> Iterator[None]:
    """The reward and the rule of the recipe's own file are forgotten after a test."""
    before = dict(REWARDS)
    yield
    REWARDS.clear()
    REWARDS.update(before)


@pytest.fixture
def train(recipe: Path) -> Train:
    """`cepo train` with the small recipe into a folder; fields override; returns the exit code."""
    return lambda folder, **fields: main(arguments(recipe, folder, **fields))


@pytest.fixture
def forked(recipe: Path) -> Iterator[Callable[..., Any]]:
    """The same in a process of its own, started; it ends with the test."""
    started = []

    def start(folder: Path, environment: Mapping[str, str] | None = None, **fields: Any) -> Any:
        process = multiprocessing.get_context("fork").Process(
            target=_alone, args=(arguments(recipe, folder, **fields), environment or {})
        )
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()


def _alone(words: list[str], environment: Mapping[str, str]) -> None:
    """The command as a process of its own has it: nothing of this one's distributed state, folders or exits."""
    atexit._clear()
    AcceleratorState._reset_state(True)
    os.environ.update(environment)
    code = main(words)
    atexit._run_exitfuncs()
    sys.exit(code)


def arguments(recipe: Path, folder: Path, **fields: Any) -> list[str]:
    words = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
    return ["train", "--config", str(recipe), "--output_dir", str(folder), *words]
