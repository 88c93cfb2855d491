"""The examples, run as a reader would, at the smallest size."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

import cepo.credit.rules
from cepo import CEPOTrainer
from cepo.credit.rules import METHODS, Method, get_method, register
from cepo.models.embedded import EMBEDDED
from cepo.reports.traces import CreditRecord, read_traces

EXAMPLES = Path(__file__).parents[2] / "examples"
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


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[CEPOTrainer, list[CreditRecord]]]:
    """Two steps of an example, with the records of its rollouts that were credited."""
    monkeypatch.setattr("cepo.credit.rules.METHODS", dict(METHODS))

    def train(name: str) -> tuple[CEPOTrainer, list[CreditRecord]]:
        trainer = load(name).main(str(tmp_path / "run"), max_steps=2)
        records = [record for record in read_traces(tmp_path / "run" / "traces") if record.evidence]
        assert records, "no rollout had evidence"
        before = Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).state_dict()
        after = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        assert any(not torch.equal(after[key].cpu(), before[key]) for key in before)
        # GRPO's advantage is the base one, for all tokens.
        assert any(abs(a - record.base_advantage) > 0.01 for record in records for a in advantages(record))
        return trainer, records

    return train


def advantages(record: CreditRecord) -> list[float]:
    assert isinstance(record.advantage, list)
    return record.advantage


def against(record: CreditRecord) -> list[float]:
    """Under r-, or where there is none under the student's own prompt."""
    return record.logps.get("minus", record.logps["student"])


def test_trl_to_cepo(run: Any) -> None:
    trainer, records = run("trl_to_cepo")
    assert trainer.args.method == "cepo"
    for record in records:
        delta = [p - m for p, m in zip(record.logps["plus"], against(record), strict=True)]
        assert record.evidence == pytest.approx(delta, abs=1e-4)


def test_own_reward(run: Any) -> None:
    _, records = run("own_reward")
    # Accuracy alone is 0 or 1; a tenth of the other reward comes on top.
    for record in records:
        share = (record.reward - float(record.correct)) / 0.1
        assert share == pytest.approx(max(0.0, 1.0 - len("".join(record.tokens[:-1])) / 200), abs=0.05)
        assert 0.0 < share < 1.0


def test_own_data(run: Any, tmp_path: Path) -> None:
    trainer, records = run("own_data")
    given = [json.loads(line) for line in (tmp_path / "run" / "data" / "train.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in trainer.train_dataset] == [row["target"] for row in given]
    assert {record.gold for record in records} <= {row["target"] for row in given}
    assert all(record.image for record in records)


def test_own_credit_rule(run: Any) -> None:
    trainer, records = run("own_credit_rule")
    assert trainer.method.name == "bent"
    assert {record.method for record in records} == {"bent"}
    deltas = []
    for record in records:
        delta = [p - m for p, m in zip(record.logps["plus"], against(record), strict=True)]
        bent = [0.25 * math.tanh(value / 0.25) for value in delta]
        sign = math.copysign(1.0, record.base_advantage)
        assert record.evidence == pytest.approx(bent, abs=1e-4)
        assert record.weight == pytest.approx([math.exp(sign * value) for value in bent], abs=1e-4)
        expected = [record.base_advantage * (1 - record.strength * (1 - weight)) for weight in record.weight]
        assert record.advantage == pytest.approx(expected, abs=1e-4)
        deltas += delta
    assert max(map(abs, deltas)) > 0.25, "no token where the rule differs from CEPO"


def test_a_rule_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.credit.rules.METHODS", dict(METHODS))
    mine = Method("mine", "mine", frozenset({"plus"}), METHODS["cepo"].assign)
    with pytest.raises(ValueError, match="unknown method 'mine'"):
        get_method("mine")
    register(mine)
    assert get_method("mine") is mine
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        get_method("mime")
    again = replace(mine, source="the cell was run again")
    register(again)
    assert get_method("mine") is again


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (Method("cepo", "mine", frozenset({"plus"}), METHODS["cepo"].assign), "a method 'cepo' already"),
        (Method("mine", "mine", frozenset({"plus"})), "'mine' needs both"),
        (Method("mine", "mine", frozenset(), METHODS["cepo"].assign), "'mine' needs both"),
        (Method("mine", "mine", cast(Any, frozenset({"pluss"})), METHODS["cepo"].assign), "there are plus, minus"),
    ],
)
def test_a_rule_that_cannot_be_registered(method: Method, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.credit.rules.METHODS", dict(METHODS))
    with pytest.raises(ValueError, match=says):
        register(method)
    assert "mine" not in cepo.credit.rules.METHODS
