"""How the words of a recipe or of the command line become values: a field's own type decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cepo.runs.recipe import RecipeError, RunConfig, load_recipe, parse_overrides, resolve_recipe
from cepo.trainer.config import CEPOConfig


def resolve(tmp_path: Path, *words: str, **values: Any) -> tuple[RunConfig, CEPOConfig]:
    return resolve_recipe({"output_dir": str(tmp_path), "bf16": "false"} | values | parse_overrides(words))


@pytest.mark.parametrize(("word", "value"), [("no", False), ("yes", True), ("False", False), ("1", True)])
def test_switches(word: str, value: bool, tmp_path: Path) -> None:
    assert resolve(tmp_path, "--skip_dead_groups", word)[1].skip_dead_groups is value


def test_lists_and_numbers(tmp_path: Path) -> None:
    run, config = resolve(
        tmp_path, "--rewards", "[accuracy_reward, format_reward]", "--reward_weights=[1, 1e-1]", "--learning-rate=1e-6"
    )
    assert run.rewards == ["accuracy_reward", "format_reward"]
    assert config.reward_weights == [1.0, 0.1]
    assert config.learning_rate == 1e-6
    assert resolve(tmp_path, "--rewards", "format_reward")[0].rewards == ["format_reward"]


def test_what_stands_inside_of_a_mapping_has_its_json_type(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "generation_kwargs: {suppress_tokens: [90, 91], top_p: 0.9, prefix: a}\ndata_columns:\n  prompt: question\n"
    )
    run, config = resolve(tmp_path, **load_recipe(tmp_path / "run.yaml"))
    assert config.generation_kwargs == {"suppress_tokens": [90, 91], "top_p": 0.9, "prefix": "a"}
    assert json.loads(run.data_columns or "") == {"prompt": "question"}
    _, config = resolve(tmp_path, "--generation_kwargs", '{"suppress_tokens": [90]}')
    assert config.generation_kwargs == {"suppress_tokens": [90]}


@pytest.mark.parametrize(
    "text", ["{reference}", "{reference} is it.", "a: b {reference}", "# {reference}", "[{reference}"]
)
def test_a_text_is_not_read_as_yaml(text: str, tmp_path: Path) -> None:
    assert resolve(tmp_path, "--reference_template", text)[1].reference_template == text


@pytest.mark.parametrize("nothing", ["null", "", None])
def test_nothing_takes_the_default_back(nothing: str | None, tmp_path: Path) -> None:
    run, _ = resolve(tmp_path, lora_rank=nothing, eval_data=nothing)
    assert (run.lora_rank, run.eval_data) == (None, None)
    assert resolve(tmp_path, lora_rank="4")[0].lora_rank == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", "fast"),
        ("num_generations", "2.5"),
        ("skip_dead_groups", "perhaps"),
        ("eval_limit", "all"),
        ("reward_weights", ["one"]),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_field(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"^field {field}: "):
        resolve(tmp_path, **{field: value})


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--max_steps=4.5", "max_steps: got '4.5', expected a whole number"),
        ("--learning_rate=fast", "learning_rate: got 'fast', expected a number"),
        ("--reward_weights=[1, much]", "reward_weights: got 'much', expected a number"),
        ("--bf16=maybe", "bf16: got 'maybe', expected true or false"),
        ("--lr_scheduler_type=cosin", "lr_scheduler_type: got 'cosin'; did you mean 'cosine'?"),
        ("--eval_strategy=qq", "eval_strategy: got 'qq', expected 'no', 'steps' or 'epoch'"),
        ("--rewards={a: b}", "rewards: got {'a': 'b'}, expected a list, [a, b]"),
        ("--reference_template=[{reference}]", "reference_template: got [{'reference': ''}], expected one text (in"),
    ],
)
def test_a_wrong_value_is_answered_with_what_to_write(word: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"^field {re.escape(says)}"):
        resolve(tmp_path, word)


def test_a_field_with_several_types_takes_the_one_that_fits(tmp_path: Path) -> None:
    _, config = resolve(
        tmp_path, "--report_to=[wandb, tensorboard]", "--save_steps=0.5", "--lr_scheduler_kwargs={a: 1}", "--debug=[]"
    )
    assert (config.report_to, config.save_steps) == (["wandb", "tensorboard"], 0.5)
    assert config.lr_scheduler_kwargs == {"a": 1}
    assert config.debug == []


@pytest.mark.parametrize(
    ("wrong", "near"), [("learning-rate", "learning_rate"), ("Method", "method"), ("lora_r", "lora_rank")]
)
def test_a_wrong_name_in_a_recipe(wrong: str, near: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"{wrong}: 1\n")
    with pytest.raises(RecipeError, match=f"unknown field '{wrong}'; did you mean '{near}'"):
        resolve_recipe(load_recipe(tmp_path / "run.yaml"))


def test_an_option_without_a_value() -> None:
    for words in (["--seed"], ["--seed", "--bf16", "no"]):
        with pytest.raises(RecipeError, match="--seed needs a value"):
            parse_overrides(words)


def test_a_recipe_that_extends_nothing_or_itself(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("extends: none.yaml\n")
    with pytest.raises(RecipeError, match=r"there is no recipe .*none\.yaml"):
        load_recipe(tmp_path / "run.yaml")
    (tmp_path / "self.yaml").write_text("extends: self.yaml\n")
    with pytest.raises(RecipeError, match=r"self\.yaml -> .*self\.yaml"):
        load_recipe(tmp_path / "self.yaml")


def test_a_reason_for_a_difference_names_its_field(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 1\ndiffers: because\n")
    with pytest.raises(RecipeError, match="`differs` must hold `field: reason` lines, got 'because'"):
        load_recipe(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text("seed: 1\ndiffers: {seed: a control}\n")
    assert load_recipe(tmp_path / "run.yaml") == {"seed": "1"}


RULE = """
from cepo import Rule, credit_from, register
register(Rule({name!r}, "mine", ("plus",), lambda inputs: credit_from(inputs, inputs.logp("plus"))))
"""


@pytest.mark.usefixtures("own_registrations")
def test_a_method_of_ones_own_in_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "rule.py"
    path.write_text(RULE.format(name="mine"))
    run, config = resolve(tmp_path, "--method", "mine", "--method_files", f"[{path}]")
    assert (config.method, run.method_files) == ("mine", [str(path)])
    assert resolve(tmp_path, "--method", "mine", "--method_files", str(path))[0].method_files == [str(path)]
    with pytest.raises(ValueError, match="unknown method 'theirs'"):
        resolve(tmp_path, "--method", "theirs", "--method_files", str(path))


def test_two_method_files_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"two files are named rule\.py"):
        resolve(tmp_path, "--method_files", f"[{tmp_path}/a/rule.py, {tmp_path}/b/rule.py]")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0", "rule.py failed: ZeroDivisionError"),
        ("import cepo", "rule.py registers no method"),
        (RULE.format(name="cepo"), "there is a method 'cepo' already"),
        (None, "there is no file .*rule.py"),
    ],
)
def test_method_files_that_cannot_be_used(text: str | None, says: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "rule.py").write_text(text)
    with pytest.raises(RecipeError, match=says):
        resolve(tmp_path, "--method_files", str(tmp_path / "rule.py"))
