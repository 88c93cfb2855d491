"""The figures bed end to end: a short run of the shipped recipes through the real trainer, pictures included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cepo.models.embedded import EMBEDDED_FIGURES
from cepo.reports.traces import read_traces
from cepo.runs.recipe import load_recipe, resolve_recipe
from cepo.runs.run import run_training

SHORT = {
    "max_steps": "1", "eval_limit": "8", "data_limit": "16", "trace_groups": "2", "eval_curve_every": "0",
    "per_device_train_batch_size": "16",
}  # fmt: skip
ORACLE = {"method": "scores", "rewards": "[chain_oracle]", "rule_options": {"form": "weight", "scale": 2.0}}


@pytest.mark.parametrize(("recipe", "method"), [("decisive", {}), ("grpo", ORACLE | {"credit_strength": "0.5"})])
def test_a_short_run(recipe: str, method: dict[str, Any], tmp_path: Path) -> None:
    given = load_recipe(Path(f"tiny_figures/{recipe}.yaml")) | SHORT | method | {"output_dir": str(tmp_path)}
    run, config = resolve_recipe(given)
    summary = run_training(run, config, lambda _: None)
    assert summary.steps == 1
    assert summary.before is not None
    (line,) = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines() if '"reward"' in text]
    assert 0 <= line["reward"] <= 1
    records = [record for record in read_traces(tmp_path / "traces") if record.base_advantage]
    assert records
    for record in records:
        given_A = record.advantage if isinstance(record.advantage, list) else [record.advantage] * len(record.tokens)
        weights = [value / record.base_advantage for value in given_A]
        if method:
            heavy = [token for token, weight in zip(record.tokens, weights, strict=True) if weight > 1.0]
            assert len(heavy) == 1 if record.base_advantage < 0 else len(heavy) >= 6
        assert max(weights) > min(weights)
    before, after = (load_file(folder / "model.safetensors") for folder in (EMBEDDED_FIGURES, tmp_path / "model"))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert not [name for name in changed if ".visual." in name]  # freeze_vision
