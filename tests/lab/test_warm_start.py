"""The warm start runs end to end and leaves a folder that loads."""

from __future__ import annotations

import json
from pathlib import Path

from cepo.lab.warm_start import main
from cepo.models.loading import load_model
from cepo.models.processor import load_processor


def test_a_few_steps_leave_a_model(tmp_path: Path) -> None:
    small = {"probe-steps": 2, "steps": 4, "stop-after": 2, "batch": 4, "warm-up": 1, "evaluate-every": 2}
    given = [f"--{name}={value}" for name, value in (small | {"evaluate-problems": 4, "bf16": False}).items()]
    main([*given, "--out", str(tmp_path)])
    model, _ = load_model(str(tmp_path), "float32", None, trust_remote_code=False)
    assert sum(parameter.numel() for parameter in model.parameters()) > 2e6
    assert load_processor(str(tmp_path)) is not None
    log = json.loads((tmp_path / "warm_start_log.json").read_text())
    assert log[0]["settings"] | {"steps": 4, "bf16": False, "learning_rate": 1e-3} == log[0]["settings"]
    assert [entry["step"] for entry in log if "step" in entry] == [2]
    assert set(log[-1]) == {"phase", "pass_rate"}
