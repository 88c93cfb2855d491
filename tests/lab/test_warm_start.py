"""The warm start runs end to end and leaves a folder that loads."""

from __future__ import annotations

import json
from pathlib import Path

from cepo.lab.warm_start import Settings, warm_start
from cepo.models.loading import load_model
from cepo.models.processor import load_processor


def test_a_few_steps_leave_a_model(tmp_path: Path) -> None:
    settings = Settings(
        probe_steps=2, steps=4, stop_after=2, batch=4, warm_up=1, evaluate_every=2, evaluate_problems=4, bf16=False
    )
    warm_start(settings, tmp_path)
    model, _ = load_model(str(tmp_path), "float32", None, trust_remote_code=False)
    assert sum(parameter.numel() for parameter in model.parameters()) > 2e6
    assert load_processor(str(tmp_path)) is not None
    log = json.loads((tmp_path / "warm_start_log.json").read_text())
    assert [entry["step"] for entry in log if "step" in entry] == [2]
    assert set(log[-1]) == {"phase", "pass_rate"}
