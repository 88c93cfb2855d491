"""`cepo compare` for real: killed in the middle with one of its trainings, and continued by the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cepo.cli import main
from cepo.evaluate import load_generations
from tests.lab.compare.conftest import Write

TIMEOUT_S = 300.0
TEXT = {"model": "tiny-text", "data": "chain", "eval_data": "chain", "max_completion_length": 32}
"""The small text model: what is tested is who trains what, not what is learnt."""


def wait_for(there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not there():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_comparison_is_continued(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed are the comparison and one of the two trainings under way; the other one lives on and is waited for."""
    out, log = tmp_path / "out", tmp_path / "log"
    evaluate = {"data": "chain", "limit": 8, "checkpoint_limit": 4}
    config = write(TEXT, overrides={"max_steps": 3}, evaluate=evaluate)
    arguments = ["compare", "--config", str(config), "--out", str(out)]
    runs = {name: out / "runs" / name for name in ("grpo-seed0", "grpo-seed1", "cepo-seed0", "cepo-seed1")}
    victim = runs["cepo-seed0"]
    with log.open("wb") as file:
        first = subprocess.Popen([sys.executable, "-m", "cepo.cli", *arguments], stdout=file, stderr=file)
    wait_for((victim / "checkpoint-1" / "cepo_complete").is_file, first, log)
    first.kill()
    os.kill(int((victim / "lock").read_text()), signal.SIGKILL)
    first.wait()
    assert not (victim / "summary.json").exists()
    assert runs["cepo-seed1"].is_dir()
    saved = (victim / "checkpoint-1" / "trainer_state.json").stat().st_mtime_ns
    finished = {name: runs[name] / "summary.json" for name in ("grpo-seed0", "grpo-seed1")}
    times = {name: path.stat().st_mtime_ns for name, path in finished.items()}

    assert main(arguments) == 0
    assert {name: path.stat().st_mtime_ns for name, path in finished.items()} == times
    assert (victim / "checkpoint-1" / "trainer_state.json").stat().st_mtime_ns == saved
    for folder in runs.values():
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 3], folder.name
        assert [len(load_generations(path)) for path in sorted(folder.glob("eval/*/*.jsonl"))] == [4, 4, 8]
    logs = {name: (folder / "train.log").read_text().count("training: ") for name, folder in runs.items()}
    assert logs["cepo-seed0"] >= 2
    said = capsys.readouterr().err
    assert "training: cepo-seed1                   " in said
    assert "cepo and grpo" in said
    table = json.loads((out / "table.json").read_text())
    assert table["missing"] == []
    assert {cell["row"] for cell in table["accuracy"]} == {"base", "grpo", "cepo"}
    assert len(table["runs"]) == 4

    for starts in ("subprocess.Popen", "cepo.lab.jobs.fork"):
        monkeypatch.setattr(starts, None)  # from here on nothing may be started
    assert main(arguments) == 0


def test_one_line_for_a_wrong_experiment(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(seeds=[0, 0])
    assert main(["compare", "--config", str(config), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "cepo: error: experiment.yaml: seeds: '0' is given twice"
    assert not (tmp_path / "out").exists()
