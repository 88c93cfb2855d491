"""Recipes: all parse, all are comparable, and a wrong word is answered with the right one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trl

from cepo.answers import Grading
from cepo.credit.prompts import TeacherPrompts
from cepo.data.datasets import load_data
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.runs.identity import decisive_fields
from cepo.runs.problems import held_out_spec, training_spec
from cepo.runs.recipe import (
    RecipeError,
    load_recipe,
    load_with_reasons,
    parse_overrides,
    resolve_recipe,
    unexplained_differences,
)

RECIPES = Path(__file__).parents[2] / "recipes"
RUNS = [path for path in sorted(RECIPES.glob("*/*.yaml")) if path.stem != "base" and path.parent.name != "accelerate"]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_recipe_builds_its_configs(path: Path, tmp_path: Path) -> None:
    values = load_recipe(path) | {"output_dir": str(tmp_path), "bf16": "false", "use_vllm": "false"}
    run, config = resolve_recipe(values)
    assert config.method in path.stem
    assert run.eval_data or run.data != "geometry"


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in RUNS}))
def test_methods_differ_in_the_credit_alone(folder: str) -> None:
    recipes = {path.stem: load_with_reasons(path) for path in RUNS if path.parent.name == folder}
    assert len(recipes) >= 3
    assert unexplained_differences(recipes) == []


def test_the_papers_setting_is_the_papers() -> None:
    run, config = resolve_recipe(load_recipe(RECIPES / "geometry3k" / "cepo.yaml") | {"bf16": "false"})
    assert (run.lora_rank, run.lora_alpha, config.max_steps, config.num_generations) == (16, 32, 50, 8)
    assert (config.max_completion_length, config.epsilon, config.epsilon_high, config.beta) == (2048, 0.2, 0.28, 0.0)
    assert (config.lr_scheduler_type, config.warmup_steps) == ("cosine", 5)
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 32 * 8


def test_the_larger_model_and_text_have_the_same_step() -> None:
    small, large = (load_recipe(RECIPES / folder / "cepo.yaml") for folder in ("geometry3k", "geometry3k_4b"))
    differing = {name for name in small | large if small.get(name) != large.get(name)}
    assert differing == {"model", "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps"}
    for folder in ("geometry3k", "geometry3k_4b", "dapo_math"):
        run, config = resolve_recipe(load_recipe(RECIPES / folder / "cepo.yaml") | {"bf16": "false"})
        assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 32 * 8
        assert (run.lora_rank, config.learning_rate, config.max_steps) == (16, 5e-6, 50)


def test_the_text_recipe_reads_its_data(tmp_path: Path) -> None:
    """Rows in the schema of the two data sets: the answer stands in `solution` of the one, in `answer` of the other."""
    dapo = {"prompt": "What is 1 + 1?", "solution": "2", "data_source": "math_dapo", "ability": "MATH",
            "source_prompt": [{"role": "user", "content": "Solve ... What is 1 + 1?"}],
            "reward_model": {"ground_truth": "2", "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "9a9b6eb4-a1cb-49d1-8c1e-62eaf2f74079"}}  # fmt: skip
    math = {"problem": "What is 2 + 2?", "solution": "It is $\\boxed{4}$.", "answer": "4", "subject": "Prealgebra",
            "level": 1, "unique_id": "test/prealgebra/1.json"}  # fmt: skip
    recipe = load_recipe(RECIPES / "dapo_math" / "cepo.yaml") | {"bf16": "false"}
    run, config = resolve_recipe(recipe)
    _, tags = resolve_recipe(recipe | {"answer_format": "tags", "thinking_counts": "true"})
    assert tags.grading == Grading("tags", thinking_counts=True)
    assert training_spec(run, config).subset == "en"
    assert held_out_spec(run, config.grading).subset is None
    run.data_subset = None  # a file has none
    run.data_split = run.eval_split = "train"
    run.data_limit = run.eval_limit = None
    for row, held_out, answer in ((dapo, False, "2"), (math, True, "4")):
        file = tmp_path / f"{held_out}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        run.data = run.eval_data = str(file)
        (read,) = load_data(held_out_spec(run, config.grading) if held_out else training_spec(run, config))
        assert read["answer"] == answer
        assert read["prompt"][0]["content"].startswith("What is")
        assert read["prompt"][0]["content"].endswith("\\boxed{}.")
        assert read.get("solution") == (math["solution"] if held_out else None)
        (tagged,) = load_data(held_out_spec(run, tags.grading) if held_out else training_spec(run, tags))
        assert tagged["prompt"][0]["content"].endswith("Put the final answer between <answer> and </answer>.")
        assert "boxed" not in tagged["prompt"][0]["content"]


def test_a_reference_fits_into_the_text_models_template() -> None:
    tokenizer = load_processor(str(EMBEDDED)).tokenizer
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_instruct_2507.jinja").read_text()

    def render(messages: Any) -> str:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    messages = [{"role": "user", "content": "What is 1 + 1?"}]
    assert "think" not in render(messages)
    student = tokenizer(render(messages))["input_ids"]
    told = tokenizer.decode(TeacherPrompts(tokenizer, render).prompt_ids(messages, student, "2"))
    assert told.index("1 + 1?") < told.index("answer to this problem is 2") < told.index("<|im_start|>assistant")


def test_another_learning_rate_is_caught_unless_explained() -> None:
    grpo = {"method": "grpo", "learning_rate": "1e-6"}
    cepo = {"method": "cepo", "learning_rate": "5e-6", "credit_clip": "0.2"}
    (found,) = unexplained_differences({"grpo": grpo, "cepo": cepo})
    assert "learning_rate" in found
    assert "5e-6" in found
    reason = {"differs": {"learning_rate": "the control that the release lacks"}}
    assert unexplained_differences({"grpo": grpo, "cepo": cepo | reason}) == []


def test_a_reason_does_not_cover_the_others_or_an_equal_field() -> None:
    a, b, c = ({"learning_rate": rate} for rate in ("1e-6", "5e-6", "7e-6"))
    explained = c | {"differs": {"learning_rate": "the control"}}
    assert len(unexplained_differences({"a": a, "b": b, "c": explained})) == 1
    (found,) = unexplained_differences({"a": a, "c": a | {"differs": {"learning_rate": "nothing"}}})
    assert "everywhere" in found


def test_wrong_words(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'learning_rate'"):
        resolve_recipe({"learning_rat": "1e-3"})
    with pytest.raises(RecipeError, match="there is no recipe"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(RecipeError, match="must hold"):
        load_recipe(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "two.yaml").write_text("extends: [a.yaml, b.yaml]\n")
    with pytest.raises(RecipeError, match="`extends` names one recipe"):
        load_recipe(tmp_path / "two.yaml")
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match="extend each other"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="max_steps"):
        resolve_recipe({"output_dir": str(tmp_path), "max_steps": "many"})


def test_overrides() -> None:
    assert parse_overrides(["--learning-rate", "1e-6", "--rewards=[a, b]", "--bf16", "no"]) == {
        "learning_rate": "1e-6",
        "rewards": ["a", "b"],
        "bf16": "no",
    }
    with pytest.raises(RecipeError, match="--bf16 needs a value"):
        parse_overrides(["--bf16", "--seed", "1"])
    with pytest.raises(RecipeError, match="'seed'"):
        parse_overrides(["seed", "1"])


def test_a_recipe_stands_on_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("learning_rate: 1.0e-3\nseed: 1\n")
    (tmp_path / "run.yaml").write_text(f"extends: base.yaml\nseed: 2\nuse_cpu: true\noutput_dir: {tmp_path}/out\n")
    _, config = resolve_recipe(load_recipe(tmp_path / "run.yaml"))
    assert (config.learning_rate, config.seed) == (1e-3, 2)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answer_format": "box"}, "unknown answer_format 'box'.*did you mean 'boxed'"),
        ({"grader": "trl"}, "unknown grader 'trl'"),
        ({"grader": "math_verify", "answer_format": "tags"}, "every answer would be wrong"),
        ({"thinking_counts": "perhaps"}, "thinking_counts: .*expected true or false"),
    ],
)
def test_a_grading_that_cannot_be_used_is_refused_in_the_recipe(fields: dict[str, str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolve_recipe({"output_dir": "x", "bf16": "false"} | fields)


def test_two_gradings_are_two_runs() -> None:
    """What is rewarded decides what is trained: a run does not resume under another format."""
    assert {"answer_format", "grader", "thinking_counts"} <= set(decisive_fields())
