"""The command line: one clear line for bad input, a complete run folder, and a killed run that continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cepo.cli import main

RECIPE = str(Path(__file__).parents[2] / "recipes" / "tiny" / "cepo.yaml")
TINY = [
    "--data_limit", "16", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1",
    "--num_generations", "4", "--max_completion_length", "40", "--eval_limit", "4", "--eval_samples", "1",
]  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning_rat", "1"], "did you mean 'learning_rate'"),
        (["--method", "cepoo"], "did you mean 'cepo'"),
        (["--credit_clip", "2"], "eps_w"),
        (["--max_steps", "many"], "max_steps"),
        (["--model", "/nowhere/model"], "/nowhere/model"),
        (["--data", "/nowhere/data.jsonl"], "/nowhere/data.jsonl"),
        (["--rewards", "accurate"], "accura"),
        (["--num_generations", "1"], "at least 2"),
        (["--seed"], "--seed needs a value"),
    ],
)
def test_train_refuses(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = refused(capsys, "train", "--config", RECIPE, "--output_dir", str(tmp_path), *arguments)
    assert line.startswith("cepo: error: ")
    assert words in line


def test_other_refusals(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no recipe" in refused(capsys, "train", "--config", str(tmp_path / "none.yaml"))
    (tmp_path / "file").write_text("")
    assert "run folder" in refused(capsys, "train", "--config", RECIPE, "--output_dir", str(tmp_path / "file" / "x"))
    assert "/nowhere" in refused(capsys, "eval", "/nowhere")
    assert "/nowhere" in refused(capsys, "data", "preview", "--data", "/nowhere/x.jsonl")


def test_preview_and_eval(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page, saved = tmp_path / "page.html", tmp_path / "answers.jsonl"
    assert main(["data", "preview", "--limit", "4", "--out", str(page)]) == 0
    assert page.read_text().count("<figure>") == 4
    assert main(["eval", "tiny", "--limit", "4", "--samples", "2", "--out", str(saved)]) == 0
    assert "pass@2" in capsys.readouterr().out
    assert len(saved.read_text().splitlines()) == 8


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cepo.cli", "train", "--config", RECIPE, "--output_dir", str(folder), *TINY]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.long
def test_a_killed_run_continues_to_the_same_parameters(tmp_path: Path) -> None:
    fields = ["--max_steps", "3", "--save_steps", "1", "--save_total_limit", "5", "--learning_rate", "1e-3"]
    whole = run(tmp_path / "whole", *fields)
    killed = run(tmp_path / "killed", *fields)
    deadline = time.time() + 120
    while not list((tmp_path / "killed").glob("checkpoint-1/trainer_state.json")):
        assert killed.poll() is None, killed.communicate()[0]
        assert time.time() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (tmp_path / "killed" / "checkpoint-9").mkdir()  # as a kill in the middle of a save leaves it
    assert not (tmp_path / "killed" / "summary.json").exists()
    resumed = run(tmp_path / "killed", *fields)
    for process in (whole, resumed):
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert a.keys() == b.keys()
    assert all(a[name].equal(b[name]) for name in a)

    folder = tmp_path / "whole"
    for name in ("config.yaml", "versions.json", "metrics.jsonl", "traces/credit.jsonl", "eval/before.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "checkpoint-3" / "model.safetensors").is_file()
    assert not list(folder.rglob("pytorch_model*"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 3
    assert summary["before"]["problems"] == 4
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 3]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(entry["phase/update_s"] > 0 for entry in metrics if "phase/update_s" in entry)
    assert [entry["step"] for entry in metrics if "credit/lambda" in entry] == [1, 2, 3]
    steps = [json.loads(line).get("step") for line in (tmp_path / "killed" / "traces" / "credit.jsonl").open()]
    assert {step for step in steps if step is not None} == {1, 2, 3}
