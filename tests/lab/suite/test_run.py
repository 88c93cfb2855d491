"""Runs: what is kept, what fails alone, what is refused before anything runs."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cepo.cli import main
from cepo.errors import ModelError, PackageError, RunFolderError, SettingError
from cepo.lab.suite import SUITES, run_suite
from cepo.lab.suite.checkpoint import check_models, open_checkpoint
from cepo.lab.suite.environment import find_python
from cepo.lab.suite.run import log_progress, planned_commands
from cepo.models.embedded import EMBEDDED

PAPER = SUITES["paper"]
TASKS = [benchmark.task for benchmark in PAPER.benchmarks]
OFFLINE = "requests.exceptions.ConnectionError: Couldn't reach 'lscpku/LogicVista' on the Hub (OfflineModeIsEnabled)"


def test_a_failed_benchmark_leaves_the_others_and_runs_again_alone(lmms, model, tmp_path) -> None:
    lmms.fail("logicvista_reasoning", f"Traceback\n{OFFLINE}\ntenacity.RetryError: RetryError[<Future>]\n")
    said: list[str] = []
    outcomes = run_suite(PAPER, [str(model)], lmms.settings(), tmp_path / "out", said.append)
    assert lmms.calls == TASKS
    by_task = {outcome.benchmark.task: outcome for outcome in outcomes}
    failed = by_task.pop("logicvista_reasoning")
    assert failed.measured is None
    error = failed.error or ""
    assert error.startswith("ConnectionError: Couldn't reach 'lscpku/LogicVista'")
    assert "hf download --repo-type dataset lscpku/LogicVista" in error
    log = Path(error.rpartition("Log: ")[2])
    assert OFFLINE in log.read_text()
    assert [by_task[task].measured.percent for task in TASKS if task in by_task] == [50.0, 12.5, 0.0, 50.0]
    assert f"runs/model, LogicVista: failed: {error}" in said

    lmms.fail("logicvista_reasoning", None)
    again = run_suite(PAPER, [str(model)], lmms.settings(batch_size=4), tmp_path / "out", said.append)
    assert lmms.calls == [*TASKS, "logicvista_reasoning"]
    assert all(outcome.measured is not None for outcome in again)


def test_results_measured_otherwise_are_not_mixed_in(lmms, model, tmp_path) -> None:
    out = tmp_path / "out"
    run_suite(PAPER, [str(model)], lmms.settings(), out, print)
    with pytest.raises(RunFolderError, match=r"result\.json was measured with limit=None, this run has 4"):
        run_suite(PAPER, [str(model)], lmms.settings(limit=4), out, print)
    (model / "model.safetensors").write_bytes(b"trained on")
    with pytest.raises(RunFolderError, match="measured with other weights"):
        run_suite(PAPER, [str(model)], lmms.settings(), out, print)
    assert lmms.calls == TASKS


def test_models_of_equal_names_do_not_share_results(lmms, model, tmp_path) -> None:
    other = tmp_path / "elsewhere" / "runs" / "model"
    other.mkdir(parents=True)
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    outcomes = run_suite(PAPER, [str(model), str(other)], lmms.settings(), tmp_path / "out", print)
    assert lmms.calls == TASKS * 2
    assert len({outcome.model for outcome in outcomes}) == 2


def test_a_result_that_is_not_what_was_asked_is_a_failure(lmms, model, tmp_path) -> None:
    outcomes = run_suite(PAPER, [str(model)], lmms.settings(max_new_tokens=32000), tmp_path / "out", print)
    assert all("max_new_tokens=64, asked for 32000" in (outcome.error or "") for outcome in outcomes)


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"lmms-eval": "0.6.0"}, r"has lmms-eval 0\.6\.0, the suites are for 0\.7\.3"),
        ({"faults": ["answer grading: ModuleNotFoundError: No module named 'latex2sympy2_extended'"]}, "math-verify"),
        (
            {"faults": ["torchvision: RuntimeError: operator torchvision::nms does not exist"]},
            "builds for different devices",
        ),
        ({"processor": ["/m"]}, "/m: AutoProcessor gives no image processor"),
    ],
)
def test_an_environment_that_would_measure_wrongly(probe, words, lmms, model, tmp_path) -> None:
    lmms.probe(**probe)
    with pytest.raises((PackageError, ModelError), match=words):
        run_suite(PAPER, [str(model)], lmms.settings(), tmp_path / "out", print)
    assert lmms.calls == []


def test_no_gpu(lmms, model, tmp_path) -> None:
    with pytest.raises(SettingError, match="sees no GPU; pass --device cpu"):
        run_suite(PAPER, [str(model)], lmms.settings(device="cuda"), tmp_path / "out", print)


def test_a_python_without_lmms_eval(model, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("CEPO_LMMS_PYTHON", raising=False)
    assert main(["eval", str(model), "--suite", "paper"]) == 2
    assert "pip install lmms-eval==0.7.3" in capsys.readouterr().err
    monkeypatch.setenv("CEPO_LMMS_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(SettingError, match=r"CEPO_LMMS_PYTHON names .*nowhere', which is no program"):
        find_python(None)
    common = ["eval", str(model), "--suite", "paper", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main([*common, "--lmms-python", sys.executable]) == 2
    assert "has no lmms-eval" in capsys.readouterr().err


def test_half_runs_and_half_models_are_refused(model, tmp_path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    with pytest.raises(ModelError, match=r"has no config\.json: is it a run that has not ended"):
        check_models([str(run)])
    with pytest.raises(SettingError, match="stands twice"):
        check_models([str(model), str(model)])
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        check_models([str(model)])
    with pytest.raises(ModelError, match="no folder 'a/b/c'"):
        check_models(["a/b/c"])
    assert check_models(["Qwen/Qwen3-VL-2B-Instruct"])[0].path == "Qwen/Qwen3-VL-2B-Instruct"


def test_our_processor_is_rewritten_for_plain_transformers(tmp_path) -> None:
    (checkpoint,) = check_models(["tiny"])
    path = Path(open_checkpoint(checkpoint, tmp_path / "copy"))
    config = json.loads((path / "processor_config.json").read_text())
    assert config["processor_class"] == "Qwen3VLProcessor"
    assert config["video_processor"]["patch_size"] == config["image_processor"]["patch_size"] == 16
    assert (path / "model.safetensors").samefile(EMBEDDED / "model.safetensors")
    assert "ImageOnlyProcessor" in (EMBEDDED / "processor_config.json").read_text()


def test_commands(lmms, model, tmp_path) -> None:
    settings = lmms.settings(backend="vllm", device="cuda", processes=4, model_args=(("tensor_parallel_size", "2"),))
    command = planned_commands(PAPER, [str(model)], settings, tmp_path)[2]
    assert command[:8] == [
        str(lmms.python), "-m", "accelerate.commands.launch", "--num_processes", "4", "-m", "lmms_eval", "--model",
    ]  # fmt: skip
    options = dict(zip(command[7::2], command[8::2], strict=False))
    assert options["--model_args"] == f"model={model},tensor_parallel_size=2"
    assert options["--gen_kwargs"] == "max_new_tokens=64"
    assert options["--process-docs-parallel"] == "1"  # math-verify refuses to work in threads
    assert options["--tasks"] == "mathvision_testmini"


def test_the_command_line_prints_the_table(lmms, model, tmp_path, capsys) -> None:
    lmms.fail("mmmu_val", "Error during evaluation: CUDA out of memory. Please set `--verbosity=DEBUG` to get more")
    arguments = ["eval", str(model), "--suite", "paper", "--device", "cpu", "--max-new-tokens", "64"]
    arguments += ["--lmms-python", str(lmms.python), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "| runs/model | 50.00 [" in shown.out
    assert "CUDA out of memory; the GPU's memory is full: a smaller --batch-size" in shown.out
    assert "1 of 5 benchmarks failed" in shown.err
    assert (tmp_path / "out" / "table.csv").is_file()
    assert main([*arguments, "--model-args", "max_pixels"]) == 2
    assert "expected key=value" in capsys.readouterr().err


def test_progress_is_that_of_the_log_s_last_bar(tmp_path) -> None:
    log = tmp_path / "log.txt"
    assert log_progress(log) == 0
    log.write_bytes(
        b"Model Responding:  40%|####  | 2/5\rModel Responding:  60%|######| 3/5\nLoading weights: 100%|#| 1/1\n"
    )
    assert log_progress(log) == 60


def test_a_suite_under_way_is_waited_for_and_not_run_beside(lmms, model, tmp_path, capsys) -> None:
    """As another call that works in the same folder: its result counts."""
    out = tmp_path / "out"
    run_suite(PAPER, [str(model)], lmms.settings(), out, print)
    (folder,) = (path.parent for path in out.rglob("mmmu_val/result.json"))
    result = (folder / "result.json").rename(folder / "other.json")
    code = f"import os, time; time.sleep(1); os.rename({str(result)!r}, {str(folder / 'result.json')!r})"
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[lock.fileno()])
    outcomes = run_suite(PAPER, [str(model)], lmms.settings(), out, print)
    assert all(outcome.measured is not None for outcome in outcomes)
    assert lmms.calls == TASKS
    assert "elsewhere" in capsys.readouterr().err
    assert other.wait() == 0


@pytest.mark.slow
@pytest.mark.skipif("CEPO_LMMS_PYTHON" not in os.environ, reason="needs lmms-eval's environment: docs/evaluation.md")
def test_lmms_eval_itself_runs_our_geometry(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "cpu_torchvision"))
    out = tmp_path / "out"
    assert main(["eval", "tiny", "--suite", "geometry", "--device", "cpu", "--limit", "8", "--out", str(out)]) == 0
    (ours,) = json.loads((out / "table.json").read_text())
    assert ours["percent"] >= 25.0  # blind, the model gets next to none
