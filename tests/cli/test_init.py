"""`cepo init`: a recipe from questions or flags, and what it refuses."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import cepo.cli.doctor
from cepo.cli import main
from cepo.runs.recipe import load_recipe, resolve_recipe
from cepo.runs.starter import look, recipe_text, suggested_model

ROWS = [{"query": f"What is {n} + 1?", "gold": str(n + 1), "rationale": f"{n} + 1 = {n + 1}"} for n in range(12)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


@pytest.fixture
def diagnosed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The recipes that the doctor was asked about, without its half minute of looking."""
    asked: list[Any] = []
    monkeypatch.setattr(cepo.cli.doctor, "examine", lambda recipe, overrides, load: asked.append(recipe))
    return asked


def resolved(path: Path) -> Any:
    return resolve_recipe(load_recipe(path) | {"bf16": "false"})


@pytest.mark.parametrize(
    ("data", "model", "sizes"),
    [
        ("chain:steps=4", "tiny-text", (32, 6e-4, False)),
        ("figures", "tiny-figures", (180, 3e-4, True)),
    ],
)
def test_an_embedded_model_has_the_sizes_of_its_shipped_recipe(
    data: str, model: str, sizes: tuple[int, float, bool], tmp_path: Path
) -> None:
    looked = look(data)
    assert suggested_model(looked) == model
    (tmp_path / "mine.yaml").write_text(recipe_text(looked, model, None, "mine", vllm=False))
    assert "'" not in (tmp_path / "mine.yaml").read_text().partition("A step:")[2].partition("Clip-higher")[0]
    run, config = resolved(tmp_path / "mine.yaml")
    assert run.model == model
    assert (config.max_completion_length, config.learning_rate, run.freeze_vision) == sizes


def test_on_a_gpu_only_adapters_are_trained_beside_bfloat16(here: Path) -> None:
    looked = look("sums.jsonl")
    dtypes = {
        name: re.search(r"^dtype: (\w+)$", recipe_text(looked, name, 80, "mine", vllm=False), re.MULTILINE)
        for name in ("Qwen/Qwen3-4B", "tiny-text")
    }
    assert {name: found and found.group(1) for name, found in dtypes.items()} == {
        "Qwen/Qwen3-4B": "bfloat16", "tiny-text": "float32",
    }  # fmt: skip


def test_flags_alone_write_a_recipe_with_a_reason_for_each_block(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--data", "chain", "--model", "tiny-text", "--gpu", "none", "--out", "mine.yaml"]) == 0
    run, config = resolved(here / "mine.yaml")
    assert (run.model, run.data, run.data_limit, run.eval_split) == ("tiny-text", "chain", 2000, "held_out")
    assert (config.method, config.max_steps, str(config.output_dir)) == ("decisive", 120, "runs/mine")
    blocks = (here / "mine.yaml").read_text().split("\n\n")
    assert all(block.startswith("# ") for block in blocks)
    assert max(map(len, "\n".join(blocks).splitlines())) <= 120
    said = capsys.readouterr().out
    assert "as many problems as are asked for, text only, with worked solutions" in said
    assert (
        said.index("What cepo doctor says") < said.index("tiny-text: ") < said.index("Next: cepo train --config mine")
    )


def test_questions_are_asked_again_until_they_can_be_used(
    here: Path, diagnosed: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("sums.json\nsums.jsonl\n\nbig\n24\n"))
    assert main(["init"]) == 0
    shown = capsys.readouterr()
    assert "did you mean 'sums.jsonl'" in shown.err
    assert "got 'big'" in shown.err
    assert "12 rows, text only, with worked solutions, nothing held out" in shown.out
    assert "prompt is read from the column 'query'" in shown.out
    (recipe,) = diagnosed
    assert recipe["data_columns"] == {"prompt": "query", "answer": "gold", "solution": "rationale"}
    run, config = resolved(here / "cepo.yaml")
    assert (run.model, run.lora_rank, run.eval_data) == ("Qwen/Qwen3-4B-Instruct-2507", 16, None)
    assert config.gradient_checkpointing
    assert not config.use_vllm
    assert len(look("sums.jsonl", columns=json.loads(str(run.data_columns).replace("'", '"'))).columns) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "chain"], "there is no terminal to ask in: give --model, --gpu, for example: cepo init --data"),
        (["--data", "nowhere.jsonl", "--model", "tiny", "--gpu", "none"], "nowhere.jsonl"),
        (["--data", "sums.jsonl", "--model", "tiny", "--gpu", "lots"], "--gpu takes the memory"),
        (["--data", "sums.jsonl", "--model", "tiny", "--gpu", "8", "--columns", "{"], "--columns must be JSON"),
        (["--data", "sums.jsonl", "--model", "tiny", "--gpu", "8", "--columns", '{"prompt": "q"}'], "'q'"),
        (["--data", "odd.jsonl", "--model", "tiny", "--gpu", "8"], "no column for the prompt"),
        (["--out", "sums.jsonl"], "sums.jsonl is there already"),
    ],
)
def test_refusals_write_nothing(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (here / "odd.jsonl").write_text('{"a": "1", "b": "2"}\n')
    assert main(["init", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert sorted(path.name for path in here.iterdir()) == ["odd.jsonl", "sums.jsonl"]


def test_a_terminal_that_closes(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("chain\n"))
    assert main(["init"]) == 2
    assert "the questions were not answered, nothing was written" in capsys.readouterr().err
    assert not (here / "cepo.yaml").exists()


def test_what_is_seen_of_the_data_decides_the_recipe(here: Path) -> None:
    (here / "answers.csv").write_text("question,prompt,answer\nWhat?,Who?,4\nWhat?,Who?,\n")
    seen = look("answers.csv")
    assert (seen.has_solutions, seen.has_images, seen.rows) == (False, False, 2)
    assert seen.spec.columns == {"prompt": "prompt"}, "two columns could be it: one is chosen and shown"
    assert seen.spec.drop_invalid
    assert seen.invalid is not None
    text = recipe_text(seen, "some/model", 80, "a", vllm=True)
    for words in ("method: cepo\n", "drop_invalid: true\n", "use_vllm: true\n", "eval_data: path/to/test.jsonl"):
        assert words in text
    assert "use_vllm: true\n" not in recipe_text(seen, "some/model", 80, "a", vllm=False)
    assert suggested_model(look("geometry")) == "tiny"
