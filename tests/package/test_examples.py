"""The examples, run as a reader would, at the smallest size."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

import cepo
from cepo import CEPOTrainer
from cepo.lab.audit.variants import grid
from cepo.models.embedded import EMBEDDED
from cepo.reports.page import write_report
from cepo.reports.traces import CreditRecord, read_traces

EXAMPLES = Path(__file__).parents[2] / "examples"
RULES = Path(__file__).parents[2] / "experiments" / "rules"
TUTORIALS = ("trl_to_cepo", "own_reward", "own_data", "own_credit_rule", "own_prompt", "own_teacher")


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
def run(tmp_path: Path, own_registrations: None) -> Callable[[str], tuple[CEPOTrainer, list[CreditRecord]]]:
    """Two steps of an example, with the records of its rollouts that were credited."""

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


def test_own_teacher(run: Any) -> None:
    trainer, records = run("own_teacher")
    assert set(trainer.others.models) == {"earlier"}
    for record in records:
        logps = record.logps
        streams = zip(logps["plus"], logps["student"], logps["bare@earlier"], strict=True)
        expected = [(plus - student) * (1 - math.exp(earlier)) for plus, student, earlier in streams]
        assert record.evidence == pytest.approx(expected, abs=1e-4)


def test_a_prompt_of_your_own(run: Any, tmp_path: Path) -> None:
    """One file: the trainer, the records, the page and the audit take a third teacher from the registry."""
    trainer, records = run("own_prompt")
    cards = {row["prompt"][0]["content"]: row["skill_card"] for row in trainer.train_dataset}
    for record in records:
        assert record.told["skill"].source == "skill_card"
        assert record.told["skill"].texts[0] in cards.values()
        assert set(record.logps) >= {"plus", "skill", "student"}
        delta = [p - m for p, m in zip(record.logps["plus"], against(record), strict=True)]
        skill = [p - m for p, m in zip(record.logps["skill"], record.logps["student"], strict=True)]
        want = [math.copysign(min(abs(d), abs(s)), d) if d * s > 0 else 0.0 for d, s in zip(delta, skill, strict=True)]
        assert record.evidence == pytest.approx(want, abs=1e-4)
    assert any(value for record in records for value in record.evidence)
    page = tmp_path / "report.html"
    write_report([tmp_path / "run"], page)
    assert "skill" in page.read_text()
    assert records[0].told["skill"].texts[0] in page.read_text()
    assert {variant.name for variant in grid(other_teacher=False)} >= {"agreeing-own", "agreeing-own/rationale"}


@pytest.mark.parametrize("path", [*EXAMPLES.rglob("*.py"), *RULES.glob("*.py")], ids=lambda path: path.stem)
def test_examples_and_rules_import_from_the_face_alone(path: Path) -> None:
    imported = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imported if str(node.module).split(".")[0] == "cepo"]
    assert ours or path.parent.name == "calculator", "of several files not all need cepo"
    for node in ours:
        assert node.module == "cepo"
        assert {alias.name for alias in node.names} <= set(cepo.__all__)


def test_the_face_is_there() -> None:
    for name in cepo.__all__:
        assert getattr(cepo, name) is not None
