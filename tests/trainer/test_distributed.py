"""Two processes, with a group that straddles them, give the references, evidence and advantages of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, processes: int, rows: int, method: str) -> dict[str, Any]:
    out = tmp_path / f"{processes}.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["tests/trainer/two_processes.py", str(out), str(rows), method]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cepo", pytest.param("rlsd", marks=pytest.mark.long)])
def test_two_processes_equal_one(method: str, tmp_path: Path) -> None:
    one, two = run(tmp_path, 1, 12, method), run(tmp_path, 2, 6, method)
    assert "MULTI_CPU" in two["type"], "torchrun must really have started two processes"
    assert len(one["rows"]) == len(two["rows"]) == 12
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert (a["id"], a["told"]) == (b["id"], b["told"])
        assert a["told"]["plus"]
        assert a["evidence"] is not None
        width = min(len(a["evidence"]), len(b["evidence"]))  # each process pads to its own longest completion
        assert a["evidence"][:width] == pytest.approx(b["evidence"][:width], abs=1e-5)
        assert a["advantage"][:width] == pytest.approx(b["advantage"][:width], abs=1e-5)
    for name, value in one["metrics"].items():
        # Shares of tokens by the sign of their evidence: where it is nothing but rounding, so is its sign.
        tolerance = 0.03 if name.startswith("credit/tokens_") else 1e-5
        assert value == pytest.approx(two["metrics"][name], abs=tolerance), name
