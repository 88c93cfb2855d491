"""Recipes for models that this machine cannot hold: at toy size, of the same architecture, one step with its probe."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cepo.cli import main
from cepo.errors import SettingError
from cepo.models import packed
from cepo.runs import run as run_module
from cepo.runs.cost_table import KNOWN
from cepo.runs.doctor_cost import load_of
from cepo.runs.memory import peak_memory
from cepo.runs.recipe import RecipeError, load_recipe, resolve_recipe
from tests.gpu import ON_GPU
from tests.runs.small import REWARD, write_model, write_problems

RECIPES = Path(__file__).parents[2] / "recipes"
TOY: dict[str, Any] = {
    "bf16": False, "use_vllm": False, "use_cpu": not ON_GPU, "dtype": "float32", "max_steps": 1, "num_generations": 4,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 2,
    "max_completion_length": 6, "report_to": "none", "gradient_checkpointing": False, "eval_data": None,
    "data_subset": None, "rewards": ["by_place"], "reward_weights": None, "wrong_reward": "by_place",
    "lr_scheduler_type": "constant", "warmup_steps": 0, "save_strategy": "no",
}  # fmt: skip
BY_PLACE = """

def by_place(prompts, completions, **_):
    return [float(place % 2) for place in range(len(completions))]


REWARDS["by_place"] = by_place
"""
"""Every group has something to tell apart, whatever a device draws."""

MODELS = {"vision": lambda folder: "tiny", "text": write_model, "experts": partial(write_model, experts=4)}
RUNS = [
    ("geometry3k_8b/cepo.yaml", "vision", "Qwen3VLForConditionalGeneration"),
    ("dapo_math_long/rlsd.yaml", "text", "Qwen3ForCausalLM"),
    ("dapo_math_moe/cepo.yaml", "experts", "Qwen3MoeForCausalLM"),
]


def trained(recipe: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> tuple[int, Any]:
    """Exit code of `cepo train` with the toy's sizes over the recipe, and the trainer."""
    (folder / "own.py").write_text(REWARD + BY_PLACE)
    data, limit = ("geometry", 8) if kind == "vision" else (str(write_problems(folder / "d.jsonl")), None)
    values = TOY | {"model": str(MODELS[kind](folder / "model")), "data": data, "data_limit": limit, **fields}
    values |= {"method_files": [str(folder / "own.py")], "output_dir": str(folder / "run"), "data_columns": None}
    (folder / "toy.yaml").write_text(yaml.safe_dump(values | {"extends": str(RECIPES / recipe)}))
    made: list[Any] = []
    build = run_module._build_trainer
    monkeypatch.setattr(run_module, "_build_trainer", lambda *words: made.append(build(*words)) or made[-1])
    return main(["train", "--config", str(folder / "toy.yaml")]), made[-1] if made else None


@pytest.mark.parametrize(("recipe", "kind", "architecture"), RUNS, ids=lambda value: str(value).partition("/")[0])
def test_a_step_at_toy_size(
    recipe: str, kind: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_registrations: None
) -> None:
    """The start's probe compares scored log-probs with the model's own, and ends the run where they differ."""
    code, trainer = trained(recipe, kind, tmp_path, monkeypatch)
    assert code == 0
    model = trainer.accelerator.unwrap_model(trainer.model).get_base_model()
    assert type(model).__name__ == architecture
    (step,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][:1]
    assert step["credit/rows_scored"] > 0
    adapters = [name.partition(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name]
    adapted = {name.rpartition(".")[2] for name in adapters}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert adapted == attention if kind == "experts" else adapted > attention


@pytest.mark.long
def test_four_bits_beneath_lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_registrations: None) -> None:
    """Codes are left alone, scoring is exact over them, and a checkpoint goes on."""
    import bitsandbytes

    code, trainer = trained("geometry3k_qlora/cepo.yaml", "vision", tmp_path, monkeypatch, save_strategy="steps")
    assert code == 0
    model = trainer.accelerator.unwrap_model(trainer.model)
    kept = [p for p in model.parameters() if isinstance(p, bitsandbytes.nn.Params4bit)]
    assert kept
    assert not any(p.requires_grad for p in kept)
    assert {p.dtype for p in kept} == {torch.float32}  # where FSDP2 could shard them
    assert main(["train", "--config", str(tmp_path / "toy.yaml")]) == 0
    assert main(["train", "--config", str(tmp_path / "toy.yaml"), "--max_steps", "2"]) == 0
    assert main(["eval", str(tmp_path / "run"), "--data", "geometry", "--limit", "2"]) == 0


def test_what_four_bits_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"load_in_4bit": "true", "model": "tiny-text", "data": "chain", "data_limit": "4", "bf16": "false"}
    with pytest.raises(RecipeError, match=r"load_in_4bit: true keeps weights that cannot be trained: set lora_rank"):
        resolve_recipe({**values, "output_dir": str(tmp_path)})
    monkeypatch.setattr(packed, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"needs bitsandbytes: pip install 'cepo\[qlora\]'"):
        packed.four_bits("auto")


def test_four_bits_fit_where_sixteen_do_not() -> None:
    """The estimate of `cepo doctor` for the recipe's model: weights by their bytes, all else as before."""
    recipe = load_recipe(RECIPES / "geometry3k_qlora" / "cepo.yaml") | {"bf16": "false"}
    run, config = resolve_recipe(recipe)
    shape, load = KNOWN["Qwen3-VL-8B"], load_of(run, config)
    four = peak_memory(shape, load)
    run.load_in_4bit = False
    whole = peak_memory(shape, load_of(run, config))
    assert whole.phases == four.phases
    layers = shape.layers * shape.layer_parameters
    assert whole.stays["weights"] - four.stays["weights"] == pytest.approx(layers * (2 - packed.BYTES_OF_PACKED))
    assert four.peak < 0.9 * 24 * 2**30 < whole.peak
