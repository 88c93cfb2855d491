"""The command that comes next takes whatever a run has left, and asks what training asked."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cepo.evaluate
import cepo.runs.run as run_module
from cepo.cli import main
from cepo.cli.train import baseline_command
from cepo.evaluate import NO_STOPS, Generation, Stops, encode_prompts, generate_answers, load_generations, stops_of
from cepo.lab.suite.checkpoint import check_models, open_checkpoint
from cepo.models.loading import load_checkpoint
from cepo.runs.recipe import load_recipe, parse_overrides
from tests.runs.conftest import Train
from tests.runs.small import write_recipe


@pytest.fixture(scope="module")
def lora(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run of two steps, its recipe's paths relative to where it was started."""
    where = tmp_path_factory.mktemp("lora")
    before = Path.cwd()
    os.chdir(recipe.parent)
    try:
        words = ["--lora_rank", "2", "--max_steps", "2", "--model", "model", "--data", "sums.jsonl"]
        words += ["--eval_data", "sums.jsonl", "--output_dir", str(where / "run")]
        assert main(["train", "--config", str(recipe), *words]) == 0
    finally:
        os.chdir(before)
    return where / "run"


def test_paths_are_stored_whole(lora: Path, recipe: Path) -> None:
    stored = yaml.safe_load((lora / "config.yaml").read_text())
    assert stored["model"] == str(recipe.parent / "model")
    assert stored["data"] == stored["eval_data"] == str(recipe.parent / "sums.jsonl")


@pytest.mark.parametrize("part", ["", "model", "checkpoint-2"])
def test_an_adapters_run_is_evaluated_exported_and_reported(
    part: str, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, merged = str(lora / part), str(tmp_path / "merged")
    assert main(["eval", given, "--limit", "2"]) == 0
    assert "pass@1" in capsys.readouterr().out
    assert main(["export", given, "--out", merged]) == 0
    assert main(["eval", merged, "--limit", "2"]) == 0
    for shown in (given, merged):
        assert main(["report", shown, "--out", str(tmp_path / "page.html")]) == 0
        assert "metrics" in capsys.readouterr().out


@pytest.mark.long
def test_the_suite_merges_an_adapter(lora: Path, tmp_path: Path) -> None:
    for number, given in enumerate((lora, lora / "model", lora / "checkpoint-2")):
        (checkpoint,) = check_models([str(given)])
        if number == 0:
            assert checkpoint.path == str((lora / "model").resolve())
            merged = Path(open_checkpoint(checkpoint, tmp_path / str(number)))
            assert (merged / "config.json").is_file()
            assert not (merged / "adapter_config.json").exists()


def test_the_next_command_works(
    lora: Path, recipe: Path, train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train(tmp_path / "run", max_steps=1, lora_rank=2) == 0
    out = capsys.readouterr().out
    look, command = out[out.index("Next: ") + len("Next: ") :].splitlines()[:2]
    assert shlex.split(look) == ["cepo", "report", str(tmp_path / "run")]
    assert main(shlex.split(look)[1:]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert main([*shlex.split(command)[1:], "--limit", "1"]) == 0


def test_the_baseline_that_is_named_is_the_recipes_own(tmp_path: Path) -> None:
    """It was the vision demo's whatever had been trained."""
    asked = {"max_steps": "7", "seed": "2", "credit_clip": "0.2", "output_dir": "x", "rewards": ["parity"]}
    (line,) = baseline_command(Path("tiny_text/cepo.yaml"), "cepo", asked)
    _, _, _, neighbour, *words = shlex.split(line)
    assert parse_overrides(words) == {"max_steps": "7", "seed": "2", "rewards": ["parity"]}
    assert load_recipe(Path(neighbour)) == load_recipe(Path("tiny_text/base.yaml")) | {
        "method": "grpo",
        "output_dir": "runs/tiny-text-grpo",
    }
    assert baseline_command(Path("tiny_text/grpo.yaml"), "grpo", {}) == []
    (tmp_path / "own.yaml").write_text("method: cepo\n")
    assert baseline_command(tmp_path / "own.yaml", "cepo", {}) == []


def test_a_closed_pipe_ends_quietly() -> None:
    for words in ("--help", "eval --help", "--version"):
        command = f"{sys.executable} -m cepo.cli {words} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "X": "1"})
        assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_two_rewards_of_one_name(
    recipe: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = "[parity, parity]"
    assert train(tmp_path / "refused", rewards=two) == 2
    assert "wrong_reward='parity' names 2 reward functions" in capsys.readouterr().err
    assert train(tmp_path / "run", rewards=two, wrong_reward="null", max_steps=1) == 0
    logged = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert {"rewards/parity/mean", "rewards/parity_2/mean"} <= logged.keys()


def test_evaluation_during_training(
    recipe: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 2}
    assert train(tmp_path / "refused", **fields) == 2
    assert "eval_data, which is not set" in capsys.readouterr().err
    data = recipe.with_name("sums.jsonl")
    assert train(tmp_path / "run", eval_data=data, per_device_eval_batch_size=4, **fields) == 0
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged if "eval_reward" in entry] == [1, 2]


THINKING = "{%- if enable_thinking is defined and not enable_thinking %}{{- 'no thoughts ' }}{%- endif %}"


def test_the_evaluation_asks_what_training_asked(
    recipe: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chat template's argument and a system prompt: training, teachers, both evaluations, `cepo eval`, an export."""
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    shutil.copytree(recipe.parent / "model", model)
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + THINKING)
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1=? Use \\boxed{}."}]
    data.write_text(json.dumps({"prompt": asked, "answer": "2"}) + "\n")
    made: list[Any] = []
    build = run_module._build_trainer
    monkeypatch.setattr(run_module, "_build_trainer", lambda *words: made.append(build(*words)) or made[-1])
    fields = {"chat_template_kwargs": '{"enable_thinking": false}', "lora_rank": 2, "max_steps": 1}
    assert train(tmp_path / "run", model=model, data=data, eval_data=data, **fields) == 0
    (trainer,) = made
    row = trainer.train_dataset[0]
    wanted = list(trainer.prompt_ids(row))
    told = trainer.tokenizer.decode(wanted)
    assert told.endswith("no thoughts ")
    assert "Be short." in told
    stored = json.loads((tmp_path / "run" / "prompts.json").read_text())
    assert stored["training"] == stored["evaluation"] == told
    teachers = stored["teachers"].values()
    assert teachers
    assert all("[reference]" in text and text.endswith("no thoughts ") and "Be short." in text for text in teachers)
    assert stored["ends"]["training"] == stored["ends"]["evaluation"]
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "merged")]) == 0
    for given in (tmp_path / "run", tmp_path / "run" / "checkpoint-1", tmp_path / "merged"):
        processor: Any = load_checkpoint(given)[1]
        assert encode_prompts(processor, [row])["input_ids"][0].tolist() == wanted, given

    asked: list[list[int]] = []

    def generate(model: Any, processor: Any, problems: Any, **settings: Any) -> list[Generation]:
        asked.append(encode_prompts(processor, problems)["input_ids"][0].tolist())
        assert settings["max_new_tokens"] == 6
        return generate_answers(model, processor, problems, **settings)

    monkeypatch.setattr(cepo.evaluate, "generate_answers", generate)
    assert main(["eval", str(model), "--like", str(tmp_path / "run")]) == 0  # the base model, asked as the run is
    assert asked == [wanted]
    assert main(["eval", str(model), "--like", str(model)]) == 2
    assert "belongs to no run" in capsys.readouterr().err


def test_the_evaluation_stops_where_training_stopped(recipe: Path, tmp_path: Path) -> None:
    """vLLM's `stop` ended training's completions, and no evaluation's."""
    run = tmp_path / "run"
    shutil.copytree(recipe.parent / "model", run / "model")
    about = {"eval_data": str(recipe.with_name("sums.jsonl")), "eval_split": "train", "max_completion_length": 16}

    def evaluated(**fields: Any) -> list[Generation]:
        (run / "config.yaml").write_text(yaml.safe_dump({**about, **fields}))
        words = ["eval", str(run), "--limit", "3", "--out", str(tmp_path / "out.jsonl")]
        assert main(words) == 0
        return load_generations(tmp_path / "out.jsonl")

    texts = [one.text for one in evaluated()]
    stop = texts[0][4:6]
    assert len(stop) == 2
    found = evaluated(generation_kwargs={"stop": [stop]})
    assert [one.text for one in found] == [text.partition(stop)[0] for text in texts]
    assert not found[0].truncated


def test_where_completions_end_is_read_in_both_languages() -> None:
    vllm = stops_of({"stop": "</answer>", "stop_token_ids": [7], "include_stop_str_in_output": True, "top_k": 3})
    assert vllm == Stops(("</answer>",), (7,), True)
    assert vllm.cut("a</answer>b</answer>") == ("a</answer>", True)
    assert stops_of({"stop": ["b", "ab"]}).cut("xxabx") == ("xx", True)
    assert stops_of({"stop_strings": ["x"], "eos_token_id": 5}) == Stops(("x",), (5,), True)
    assert stops_of(None) == stops_of({}) == NO_STOPS
    assert NO_STOPS.cut("text") == ("text", False)


def test_stop_strings_need_vllm(recipe: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers said so at the first generation."""
    assert train(tmp_path / "run", generation_kwargs='{"stop_strings": ["x"]}') == 2
    assert "stop_strings=['x'] needs use_vllm" in capsys.readouterr().err


def test_doctor_and_recipes_still_find_their_files(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "again", max_steps=1)
    assert main(["doctor", "--config", str(recipe), "--output_dir", str(tmp_path / "run")]) == 0
