"""The chain bed end to end: a short run of the shipped recipes through the real trainer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cepo.evaluate import load_generations
from cepo.reports.traces import read_traces
from cepo.runs.callbacks import AccuracyCurve
from cepo.runs.identity import resolved_paths
from cepo.runs.recipe import load_recipe, resolve_recipe
from cepo.runs.run import run_training

SHORT = {
    "max_steps": "3", "eval_limit": "30", "data_limit": "40", "trace_groups": "2", "eval_curve_every": "2",
    "eval_curve_limit": "10",
}  # fmt: skip


@pytest.mark.parametrize("name", ["grpo", "cepo_solutions", "scores"])
def test_a_short_run(name: str, tmp_path: Path) -> None:
    run, config = resolve_recipe(load_recipe(Path(f"tiny_text/{name}.yaml")) | SHORT | {"output_dir": str(tmp_path)})
    summary = run_training(run, config, lambda _: None)
    assert summary.steps == 3
    assert summary.before is not None
    assert len(load_generations(tmp_path / "eval" / "after.jsonl")) == 30
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "reward" in line] == [1, 2, 3]
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [(line["step"], line["problems"]) for line in curve] == [(0, 10), (2, 10)]
    records = [record for record in read_traces(tmp_path / "traces") if record.base_advantage]
    assert records
    for record in records:
        given = record.advantage if isinstance(record.advantage, list) else [record.advantage] * len(record.tokens)
        weights = [value / record.base_advantage for value in given]
        if name == "grpo":
            assert weights == pytest.approx([1.0] * len(weights), abs=1e-4)
        elif name == "scores":
            _check_oracle(record.tokens, weights, right=record.base_advantage > 0)
        else:
            assert max(weights) <= 1.5 + 1e-4


def _check_oracle(tokens: list[str], weights: list[float], *, right: bool) -> None:
    """1.5 on six values of a right rollout, on one number of a wrong one; 0.5 elsewhere."""
    heavy = [token for token, weight in zip(tokens, weights, strict=True) if weight > 1.0]
    assert all(weight == pytest.approx(1.5, abs=1e-3) or weight == pytest.approx(0.5, abs=1e-3) for weight in weights)
    assert all(token.isdigit() for token in heavy)
    assert len(heavy) == 1 if not right else len(heavy) <= 6


def test_our_own_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that happens to be called like the model or the problems that ship is not what a recipe means."""
    monkeypatch.chdir(tmp_path)
    for name in ("tiny-text", "chain:steps=2", "mine"):
        Path(name).mkdir()
    assert resolved_paths({"model": "tiny-text", "data": "chain:steps=2"}) == {}
    assert resolved_paths({"model": "mine"}) == {"model": str(tmp_path / "mine")}


def test_a_resumed_curve_measures_again_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    answers = iter([[True, False], [True, True], [False, False], [True, True]])
    curve = AccuracyCurve(path, 2, lambda: next(answers))

    def at(step: int) -> Any:
        return SimpleNamespace(is_world_process_zero=True, global_step=step)

    curve.on_train_begin(None, at(0), None)
    for step in (1, 2, 3, 4):
        curve.on_step_end(None, at(step), None)
    curve.on_train_begin(None, at(3), None)  # the checkpoint before step 4
    curve.on_step_end(None, at(4), None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["accuracy"]) for line in lines] == [(0, 0.5), (2, 1.0), (4, 1.0)]
