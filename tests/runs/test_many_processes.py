"""Recipes on two processes: evaluated by both, to the same answers as by one, wherever the weights lie."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import cepo.evaluate.generate as generation
import cepo.runs.evaluation as evaluation
from cepo.cli import main
from cepo.evaluate import Team, load_generations
from cepo.runs.evaluation_parts import PartsOfEvaluation
from tests.pair import Sharding, on_two
from tests.runs.conftest import arguments

SHARDED: list[Any] = [
    "ddp",
    "fsdp2",
    pytest.param("zero3", marks=pytest.mark.skipif(find_spec("deepspeed") is None, reason="make test-deepspeed")),
]
EVALUATED: dict[str, Any] = {
    "eval_limit": 5, "eval_curve_every": 2, "eval_curve_limit": 3, "max_steps": 2, "save_steps": 2, "eval_samples": 2,
    "learning_rate": 0.05,
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BATCH", 3)


def alone(recipe: Path, folder: Path, **fields: Any) -> int:
    words = arguments(recipe, folder, eval_data=recipe.with_name("sums.jsonl"), **EVALUATED, **fields)
    return main(words)


def texts(folder: Path, when: str) -> list[tuple[str, str]]:
    return [(one.id, one.text) for one in load_generations(folder / "eval" / f"{when}.jsonl")]


def curve(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["accuracy"]) for line in map(json.loads, (folder / "curve.jsonl").open())]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDED)
def test_two_processes_evaluate_as_one(sharding: Sharding, recipe: Path, tmp_path: Path) -> None:
    """Both generate; what they generate with the first weights, and then with the trained ones, is what one does."""
    more = {"deepspeed": json.dumps(_zero3())} if sharding == "zero3" else {}
    folder = tmp_path / "two" / "run"

    def work(rank: int, to: Path) -> tuple[int, list[int]]:
        made: list[int] = []
        ordinary = evaluation.Team

        def team(**fields: Any) -> Team:
            keep = fields.pop("keep")

            def noted(number: int, batch: Any) -> None:
                made.append(number)
                keep(number, batch)

            return ordinary(**fields, keep=noted)

        evaluation.Team = team  # pyright: ignore[reportAttributeAccessIssue]
        return alone(recipe, to / "run", **more), made

    both = on_two(work, tmp_path / "two", sharding, seconds=120)
    assert [one.error for one in both] == ["", ""]
    assert [one.value[0] for one in both] == [0, 0]
    batches = [[number for number in one.value[1]] for one in both]
    assert batches[0].count(0) == 4, "before, after, and twice for the curve"
    assert {number % 2 for number in batches[1]} == {1}
    assert sorted(set(batches[0] + batches[1])) == [0, 1, 2, 3]
    assert not list((folder / "eval").glob("*.parts"))
    assert alone(recipe, tmp_path / "one") == 0
    assert texts(folder, "before") == texts(tmp_path / "one", "before")
    assert len(texts(folder, "after")) == 10
    assert [step for step, _ in curve(folder)] == [0, 2]
    assert curve(folder)[0] == curve(tmp_path / "one")[0]
    assert texts(folder, "after") == by_one(recipe, folder, tmp_path)


def _zero3() -> dict[str, Any]:
    stage = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    auto = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    return {"zero_allow_untested_optimizer": True, "zero_optimization": stage, **dict.fromkeys(auto, "auto")}


def by_one(recipe: Path, folder: Path, tmp_path: Path) -> list[tuple[str, str]]:
    """What one process says before training a model that starts as the trained one."""
    sums = recipe.with_name("sums.jsonl")
    again = {"eval_data": sums, "eval_limit": 5, "eval_samples": 2, "max_steps": 1, "model": folder / "model"}
    assert main(arguments(recipe, tmp_path / "again", **again)) == 0
    return texts(tmp_path / "again", "before")


def test_an_evaluation_that_was_cut_off_goes_on(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off in the third of four batches: two are kept, as long as it is the same evaluation."""
    calls: list[int] = []
    ordinary = generation._complete

    def complete(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ordinary(*arguments)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(generation, "_complete", complete)
        assert alone(recipe, folder) == 130
    parts = folder / "eval" / "before.parts"
    assert len(list(parts.glob("*.jsonl"))) == 2
    about = json.loads((parts / "about.json").read_text())
    assert PartsOfEvaluation(parts, about).found().keys() == {0, 1}
    with monkeypatch.context() as patch:
        calls[:] = [1] * 10
        patch.setattr(generation, "_complete", complete)
        assert alone(recipe, folder) == 0
    assert len(calls) - 10 == 2 + 4 + 2, "the rest of the first, the second, and the curve"
    assert alone(recipe, tmp_path / "whole") == 0
    assert texts(folder, "before") == texts(tmp_path / "whole", "before")
    parts.mkdir()
    (parts / "about.json").write_text(json.dumps(about))
    assert not PartsOfEvaluation(parts, about | {"step": 7}).found()
    capsys.readouterr()
