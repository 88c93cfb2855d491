"""The examples, run as a reader would, at the smallest size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from cepo.models.embedded import EMBEDDED
from cepo.traces import read_traces
from cepo.training.methods import METHODS, Method, register

EXAMPLES = Path(__file__).parents[1] / "examples"
TUTORIALS = ("trl_to_cepo", "own_reward", "own_data", "own_credit_rule")


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*TUTORIALS, "one_step"}


@pytest.mark.parametrize("name", TUTORIALS)
def test_an_example_trains_with_credit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.training.methods.METHODS", dict(METHODS))
    torch.manual_seed(0)
    trainer = load(name).main(str(tmp_path / "run"), max_steps=2)
    from transformers import Qwen3VLForConditionalGeneration

    before = dict(Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).named_parameters())
    moved = [
        not torch.equal(p.cpu(), before[n])
        for n, p in trainer.accelerator.unwrap_model(trainer.model).named_parameters()
    ]
    assert any(moved)
    records = [
        record for record in read_traces(tmp_path / "run" / "traces") if record.evidence and any(record.evidence)
    ]
    assert records, "no rollout had evidence"
    if name == "own_credit_rule":
        assert {record.method for record in records} == {"bent"}
        assert 0.0 < max(abs(value) for record in records for value in record.evidence) <= 0.25
    else:
        assert max(abs(value) for record in records for value in record.evidence) > 0.25


def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.training.methods.METHODS", dict(METHODS))
    register(METHODS["cepo"])
    with pytest.raises(ValueError, match="a method 'cepo' already"):
        register(Method("cepo", "mine", frozenset({"plus"}), METHODS["cepo"].assign))
    with pytest.raises(ValueError, match="'mine' needs both"):
        register(Method("mine", "mine", frozenset({"plus"})))
