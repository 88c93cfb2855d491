"""A run says how far it is: finished, stopped and why, or what is missing; one process at a time works on it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import cepo.runs.run as run_module
from cepo.cli import main
from cepo.runs.callbacks import Progress
from cepo.trainer.trainer import CEPOTrainer
from tests.runs.conftest import Train, arguments


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes())
            for file in folder.rglob("*") if file.is_file() and file.name != "run.lock"}  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    name = "adapter_model" if (folder / "adapter_config.json").is_file() else "model"
    return load_file(folder / f"{name}.safetensors")


def equal(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="session")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of four steps, made in a process of its own."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    words = arguments(recipe, folder, eval_data=recipe.with_name("sums.jsonl"))
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(words)))
    process.start()
    process.join()
    assert process.exitcode == 0
    return folder


def test_a_finished_run_given_again_changes_nothing(
    whole: Path, recipe: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(whole)
    assert train(whole, eval_data=recipe.with_name("sums.jsonl")) == 0
    assert "already finished" in capsys.readouterr().out
    assert files(whole) == before
    assert summary(whole)["state"] == "finished"
    assert summary(whole)["steps"] == 4


def test_only_what_is_missing_is_made(
    whole: Path, recipe: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted between the last step and the summary; and a finished run that is to be evaluated on more."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "model")
    before = files(folder)
    assert train(folder, eval_data=recipe.with_name("sums.jsonl")) == 0
    assert equal(folder / "model", whole / "model")
    assert (folder / "metrics.jsonl").read_bytes() == before["metrics.jsonl"][1]
    kept = {name for name in before if name.startswith("checkpoint") or "before" in name}
    assert {name: files(folder)[name] for name in kept} == {name: before[name] for name in kept}
    assert summary(folder)["after"] == summary(whole)["after"]
    assert train(folder, eval_data=recipe.with_name("sums.jsonl"), eval_limit=3) == 0
    assert summary(folder)["after"]["problems"] == 3
    assert summary(folder)["steps"] == 4
    assert equal(folder / "model", whole / "model")
    capsys.readouterr()


def test_a_longer_run_goes_on(whole: Path, train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    assert train(folder, max_steps=5) == 0
    assert summary(folder)["steps"] == 5
    assert not equal(folder / "model", whole / "model")


class _Stop(TrainerCallback):
    """As a sweep's early stopping does it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 2


def test_an_early_stop_does_not_look_finished(
    whole: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Progress", _Stop)
        assert train(folder, save_steps=10) == 3
    said = summary(folder)
    assert (said["state"], said["steps"]) == ("stopped", 2)
    assert "step 2 of 4" in said["why"]
    assert "checkpoint-2" in capsys.readouterr().err
    assert not (folder / "model").exists()
    assert run_module.Progress is Progress
    assert train(folder) == 0
    assert summary(folder)["state"] == "finished"
    assert equal(folder / "model", whole / "model")


def test_a_second_process_is_told_who_works_there(
    train: Train, forked: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = forked(tmp_path, max_steps=500, save_steps=100)
    wait_for(tmp_path / "metrics.jsonl", first)
    assert train(tmp_path) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cepo: error: ")]
    assert f"process {first.pid} on {os.uname().nodename} since 20" in line
    assert "--output_dir" in line
    first.kill()
    first.join()
    assert train(tmp_path, max_steps=1, save_steps=1) == 0  # a death releases it


def slow_third(said: Path, seconds: float) -> Callable[..., Any]:
    """`make_batch` that says on the main process when the third is made, and takes its time over it."""
    ordinary, calls = CEPOTrainer.make_batch, []

    def make_batch(self: Any, inputs: Any, generate: Any) -> Any:
        calls.append(1)
        if len(calls) == 3 and self.accelerator.is_main_process:
            said.write_text("now")
            time.sleep(seconds)
        return ordinary(self, inputs, generate)

    return make_batch


def wait_for(path: Path, process: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or not path.stat().st_size:
        assert process.is_alive(), process.exitcode
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on_equal(
    number: signal.Signals, code: int, whole: Path, recipe: Path, train: Train, forked: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In the middle of a generation, between two saves: nothing of the steps done is lost, no folder stays behind."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CEPOTrainer, "make_batch", slow_third(tmp_path / "third", 0.3))
        process = forked(folder, save_steps=10)
    wait_for(tmp_path / "third", process)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == code
    assert summary(folder)["state"] == "stopped"
    assert number.name in summary(folder)["why"]
    assert (folder / "checkpoint-2" / "cepo_complete").is_file()
    assert not [path for path in temporary.iterdir() if path.name.startswith("cepo-")]
    assert train(folder, save_steps=10) == 0
    assert equal(folder / "model", whole / "model")


def test_the_last_whole_checkpoint_stays_until_the_next_is_whole(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"teacher_weights": "ema", "save_total_limit": 1}
    assert train(tmp_path / "whole", **fields) == 0
    assert len(list((tmp_path / "whole").glob("checkpoint-*"))) == 1
    folder, ordinary = tmp_path / "run", CEPOTrainer.checkpoint_written

    def killed(self: Any, checkpoint: Path) -> None:
        if checkpoint.name == "checkpoint-2":
            raise KeyboardInterrupt  # while the teacher's copy is written
        ordinary(self, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(CEPOTrainer, "checkpoint_written", killed)
        assert train(folder, **fields) == 130
    assert (folder / "checkpoint-1" / "cepo_complete").is_file()
    assert "checkpoint-1" in capsys.readouterr().err
    assert train(folder, **fields) == 0
    assert equal(folder / "model", tmp_path / "whole" / "model")
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_damaged_checkpoint_is_not_resumed_from(
    whole: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bit of one file has changed: the one before is taken, which gives the same run; without one it is said."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for name in ("summary.json", "model"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    flip(folder / "checkpoint-4" / "optimizer.pt")
    assert train(folder) == 0
    said = capsys.readouterr().err
    assert "checkpoint-4 is damaged" in said
    assert "optimizer.pt" in said
    assert equal(folder / "model", whole / "model")
    (folder / "summary.json").unlink()
    for checkpoint in folder.glob("checkpoint-*"):
        flip(checkpoint / "model.safetensors")
    assert train(folder) == 2
    assert "model.safetensors" in capsys.readouterr().err


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_what_cannot_be_written_is_known_before_training(
    recipe: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(recipe.parent / "model", model)
    file = model / "generation_config.json"
    config = json.loads(file.read_text()) | {"do_sample": False, "temperature": 0.7}
    del config["pad_token_id"]  # transformers will write the tokenizer's, and then refuse to save the whole
    file.write_text(json.dumps(config))
    assert train(tmp_path / "run", model=model) == 2
    said = capsys.readouterr().err
    assert "generation_config.json" in said
    assert "do_sample" in said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert main(["doctor", *arguments(recipe, tmp_path / "other", model=model)[1:]]) == 1
    assert "do_sample" in capsys.readouterr().out


@pytest.mark.parametrize("phase", ["generation", "credit", "update"])
def test_out_of_memory_says_what_to_change(
    phase: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = {"generation": "rewarded", "credit": "_with_credit", "update": "loss_of"}[phase]
    calls: list[int] = []
    ordinary = getattr(CEPOTrainer, hook)

    def out(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return ordinary(self, *arguments)

    monkeypatch.setattr(CEPOTrainer, hook, out)
    assert train(tmp_path, save_steps=10) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "step 3" in line
    assert "checkpoint-2" in line
    wanted = {
        "generation": "steps_per_generation",
        "credit": "--score_tokens_per_forward 4096",
        "update": "--per_device_train_batch_size 2 --gradient_accumulation_steps 2",
    }
    assert wanted[phase] in line
    assert all(other not in line for name, other in wanted.items() if name != phase)


def test_half_the_micro_batch_and_twice_the_accumulation_is_the_same_run(
    whole: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert train(folder, max_steps=2) == 0
    halved = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    assert train(folder, max_steps=4, **halved) == 0
    one, other = weights(folder / "model"), weights(whole / "model")
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-4
    capsys.readouterr()
    assert train(folder, max_steps=6, per_device_train_batch_size=8) == 2
    assert "rows_per_update=4 (now 8)" in capsys.readouterr().err


@pytest.mark.parametrize("window", [{"steps_per_generation": 3}, {"num_iterations": 2}], ids=str)
def test_a_run_goes_on_inside_a_generation_window(window: dict[str, int], train: Train, tmp_path: Path) -> None:
    assert train(tmp_path / "whole", max_steps=3, **window) == 0
    assert train(tmp_path / "run", max_steps=1, **window) == 0
    assert train(tmp_path / "run", max_steps=3, **window) == 0
    assert equal(tmp_path / "run" / "model", tmp_path / "whole" / "model")
    lambdas = [
        [json.loads(line).get("completions/mean_length") for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("whole", "run")
    ]
    assert [value for value in lambdas[0] if value] == [value for value in lambdas[1] if value]


def on_two(forked: Any, folder: Path, port: int, **fields: Any) -> list[Any]:
    """Two processes of one run, as accelerate launches them."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
              "LOCAL_WORLD_SIZE": "2"}  # fmt: skip
    ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    return [forked(folder, environment=rank, **fields) for rank in ranks]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_stop_and_go_on(forked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to both, as a launcher passes it on, while one waits for the other."""
    for process in on_two(forked, tmp_path / "whole", free_port()):
        process.join(120)
        assert process.exitcode == 0
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CEPOTrainer, "make_batch", slow_third(tmp_path / "third", 1.0))
        both = on_two(forked, folder, free_port(), save_steps=10)
    wait_for(tmp_path / "third", both[0])
    for process in both:
        os.kill(process.pid, signal.SIGTERM)
    for process in both:
        process.join(60)
        assert process.exitcode == 143
    assert (folder / "checkpoint-2" / "rng_state_1.pth").is_file()
    assert summary(folder)["state"] == "stopped"
    for process in on_two(forked, folder, free_port(), save_steps=10):
        process.join(120)
        assert process.exitcode == 0
    assert equal(folder / "model", tmp_path / "whole" / "model")
