"""ZeRO-2 and ZeRO-3 on two processes credit as one process without DeepSpeed does, before and after an update.

`make test-deepspeed` installs DeepSpeed (the extra `deepspeed`) and runs this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed: make test-deepspeed"),
]


def run(out: Path, processes: int, stage: int, weights: str) -> dict[str, Any]:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["tests/trainer/zero.py", str(out), str(12 // processes), str(stage), weights]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module", params=["full", "lora"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What is trained, and the steps of one process without DeepSpeed."""
    return request.param, run(tmp_path_factory.mktemp("alone") / "steps.json", 1, 0, request.param)


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_equals_one_process(stage: int, alone: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    weights, one = alone
    two = run(tmp_path / "steps.json", 2, stage, weights)
    assert (one["type"].rpartition(".")[2], one["processes"]) == ("NO", 1)
    assert (two["type"].rpartition(".")[2], two["processes"], two["stage"]) == ("DEEPSPEED", 2, stage)
    assert two["engine"] == "DeepSpeedEngine"
    assert (two["parameters_held"] == 0) == (stage == 3), "at stage 3 no parameter is whole between forwards"
    assert len(one["steps"]) == len(two["steps"]) == 2
    moved = 0.0
    for first, second in zip(one["steps"], two["steps"], strict=True):
        assert len(first) == len(second) == 12
        for a, b in zip(first, second, strict=True):
            assert a["id"] == b["id"]
            width = min(len(a["evidence"]), len(b["evidence"]))  # each process pads to its own longest completion
            assert a["evidence"][:width] == pytest.approx(b["evidence"][:width], abs=1e-4)
            assert a["advantage"][:width] == pytest.approx(b["advantage"][:width], abs=1e-4)
            moved = max(moved, *map(abs, a["evidence"]))
    assert moved > 0.1, "evidence of nothing would agree anyhow"
