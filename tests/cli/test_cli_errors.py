"""Bad input on the command line: exit code 2, one line that names it, and nothing generated or overwritten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cepo.evaluate
import cepo.runs.evaluation as run_module
from cepo.cli import main
from cepo.errors import SettingError
from cepo.models.embedded import EMBEDDED

RECIPE = str(Path(__file__).parents[2] / "recipes" / "tiny" / "cepo.yaml")
SMALL = [
    "--data_limit", "8", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1",
    "--num_generations", "4", "--max_completion_length", "8", "--eval_limit", "2", "--eval_samples", "1",
    "--max_steps", "1", "--save_steps", "1",
]  # fmt: skip


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command that must be refused before anything is generated; its one line."""

    def generates(*_: Any, **__: Any) -> None:
        raise AssertionError("it generates")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(run_module, "generate_answers", generates)
        monkeypatch.setattr(cepo.evaluate, "generate_answers", generates)
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("cepo: error: ")
        return line

    return run


def train(folder: Path, *arguments: str) -> list[str]:
    return ["train", "--config", RECIPE, "--output_dir", str(folder), *SMALL, *arguments]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data_columns", "{bad"], "data_columns must be JSON"),
        (["--data_columns", '{"prompt": "q"}'], "does not go with the data 'geometry'"),
        (["--dtype", "float99"], "unknown dtype 'float99'"),
        (["--max_steps", "-5"], "max_steps=-5"),
        (["--learning_rate", "nan"], "learning_rate=nan"),
        (["--temperature", "0"], "temperature=0.0"),
        (["--bf16", "maybe"], "field bf16: "),
        (["--rewards", "[accuracy_reward, accuracy]"], "did you mean 'accuracy_reward'"),
        (["--reward_weights", "[1, 2]"], "reward weights (2)"),
        (["--num_generations", "7"], "num_generations (7)"),
        (["--eval_split", "test"], "no split 'test'"),
        (["--eval_data", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["--answer_column", "gold"], "no column 'gold'"),
        (["--wrong_reward", "judge"], "wrong_reward='judge'"),
        (["--use_vllm", "true"], "pip install 'cepo[vllm]'"),
        (["--teacher_weights", "base"], "LoRA"),
        (["word"], "expected --field value, got 'word'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_train(arguments: list[str], words: str, refused: Any, tmp_path: Path) -> None:
    assert words in refused(*train(tmp_path, *arguments))
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("model.safetensors", lambda file: file.write_bytes(file.read_bytes()[:100_000])),
        ("model.safetensors", Path.unlink),
        ("config.json", lambda file: file.write_text(file.read_text()[:100])),
        ("tokenizer.json", lambda file: file.write_text(file.read_text()[:500])),
        ("tokenizer.json", Path.unlink),
    ],
    ids=["half of the weights", "no weights", "half of the config", "half of the tokenizer", "no tokenizer"],
)
def test_a_model_whose_download_was_interrupted(file: str, harm: Any, refused: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    harm(folder / file)
    line = refused("eval", str(folder), "--limit", "1")
    assert f"cannot load the model '{folder}'" in line
    assert line == refused(*train(tmp_path / "run", "--model", str(folder)))


def test_a_place_for_the_answers_is_found_before_they_are_made(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Is a directory" in refused("eval", "tiny", "--limit", "1", "--out", str(tmp_path))
    assert "file" in refused("eval", "tiny", "--limit", "1", "--out", str(tmp_path / "file" / "answers.jsonl"))


def test_a_full_disk(refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    assert "1 MiB are free" in refused(*train(tmp_path))


def test_another_run_in_the_same_folder(
    refused: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--method grpo` over a finished CEPO run must not report CEPO's model as GRPO's."""
    assert main(train(tmp_path)) == 0
    summary = (tmp_path / "summary.json").read_text()
    capsys.readouterr()
    line = refused(*train(tmp_path, "--method", "grpo"))
    assert "method='cepo' (now 'grpo')" in line
    assert str(tmp_path) in line
    assert (tmp_path / "summary.json").read_text() == summary


RULE = """
from cepo import Rule, register
register(Rule("mine", "its own: {word}"))
"""


@pytest.mark.usefixtures("own_registrations")
def test_the_rule_of_the_run_has_changed(refused: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run under another rule is another run, although every setting is the same."""
    rule = tmp_path / "rule.py"
    command = train(tmp_path / "run", "--method", "mine", "--method_files", str(rule))
    rule.write_text(RULE.format(word="one"))
    assert main(command) == 0
    capsys.readouterr()
    rule.write_text(RULE.format(word="another"))
    assert "the file rule.py (method_files) has changed" in refused(*command)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SettingError("eps_w=2 is out of range"), 2, ["cepo: error: eps_w=2 is out of range"]),
        (FileNotFoundError(2, "No such file or directory", "a.jsonl"), 2, ["cepo: error: ", "a.jsonl"]),
        (OSError(28, "No space left on device"), 2, ["cepo: error: ", "No space left"]),
        (ModuleNotFoundError("No module named 'vllm'", name="vllm"), 2, ["cepo: error: ", "vllm"]),
        (MemoryError("8 GiB"), 2, ["out of memory (8 GiB)", "lower per_device_train_batch_size"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 2, ["out of memory", "lower"]),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 2, ["out of memory (CUDA out of memory)", "lower"]),
        (
            RuntimeError("The server socket has failed to listen. code: -98, name: EADDRINUSE\nmore"),
            2,
            ["cepo: error: The server socket has failed", "EADDRINUSE: another run", "--main_process_port"],
        ),
        (TypeError("'int' object is not callable"), 1, ["TypeError: 'int' object is not callable", "bug"]),
        (ValueError("shapes (3,) and (4,)\nmore"), 1, ["ValueError: shapes (3,) and (4,). This is a bug", "bug"]),
        (KeyError("advantages"), 1, ["KeyError: 'advantages'", "bug"]),
        (ImportError("cannot import name 'x'", name="cepo.trainer"), 1, ["ImportError: cannot import name 'x'", "bug"]),
        (AssertionError(), 1, ["cepo: AssertionError", "bug"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_bug_is_told_apart_from_a_wrong_input(
    error: Exception,
    code: int,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.delenv("CEPO_TRACEBACK", raising=False)
    monkeypatch.setattr("cepo.reports.page.write_report", fails)
    (tmp_path / "metrics.jsonl").touch()
    assert main(["report", str(tmp_path)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line
    assert ("CEPO_TRACEBACK=1" in line) == ("error: " not in line) == (code == 1)
    monkeypatch.setenv("CEPO_TRACEBACK", "1")
    assert main(["report", str(tmp_path)]) == code
    assert "in fails" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 9999])
def test_a_closed_pipe_ends_quietly(lines: int, tmp_path: Path) -> None:
    script = tmp_path / "talks.py"
    script.write_text(
        "import sys, cepo.cli, cepo.cli.show\n"
        f"cepo.cli.show.run = lambda options: [print('x' * 99) for _ in range({lines})] and 0\n"
        "sys.exit(cepo.cli.main(['show', '.']))\n"
    )
    shell = f"{sys.executable} {script} | true; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONUNBUFFERED": ""}  # the last lines are written when the process ends
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_as_a_process(tmp_path: Path) -> None:
    """What a shell sees: the code, one line, no traceback."""
    command = [sys.executable, "-m", "cepo.cli", "train", "--config", "none.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert "none.yaml" in line
