"""Recipes: all parse, all are comparable, and a wrong word is answered with the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cepo.training.recipe import (
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
    assert len(recipes) >= 3 or folder == "text"
    assert unexplained_differences(recipes) == []


def test_the_papers_setting_is_the_papers() -> None:
    run, config = resolve_recipe(load_recipe(RECIPES / "geometry3k" / "cepo.yaml") | {"bf16": "false"})
    assert (run.lora_rank, run.lora_alpha, config.max_steps, config.num_generations) == (16, 32, 50, 8)
    assert (config.max_completion_length, config.epsilon, config.epsilon_high, config.beta) == (2048, 0.2, 0.28, 0.0)
    assert (config.lr_scheduler_type, config.warmup_steps) == ("cosine", 5)
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 32 * 8


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
