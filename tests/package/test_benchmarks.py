"""The instruments of `benchmarks/` name things of the product: what is renamed there must be renamed in them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.runs.small import write_model
from tests.trainer.small_text import build

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_every_phase_of_a_step_is_measured(tmp_path: Path) -> None:
    """A function that the trainer no longer calls by its name would be a phase of zero seconds, and no error."""
    phases = importlib.import_module("phases")
    write_model(tmp_path / "model")
    trainer = build(
        tmp_path / "model", tmp_path, max_steps=1, trace_groups=1, output_dir=str(tmp_path / "run"), method="cepo"
    )
    clock = phases.StepClock()
    with clock.installed():
        trainer.train()
    clock.step_ended()
    assert [phase for phase in phases.PHASES if not clock.steps[0][phase]] == []


def test_what_was_timed_is_itself_again() -> None:
    phases = importlib.import_module("phases")
    before = [getattr(owner, name) for owner, name, _ in phases.POINTS]
    with phases.StepClock().installed():
        assert [getattr(owner, name) for owner, name, _ in phases.POINTS] != before
    assert [getattr(owner, name) for owner, name, _ in phases.POINTS] == before
