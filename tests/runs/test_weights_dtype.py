"""What trained weights are kept in: an update of a fine-tuning's size does not fit into bfloat16."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from cepo.runs import doctor
from cepo.runs.doctor import weights
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig
from tests.runs.conftest import Train


@pytest.fixture(scope="module")
def half(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, saved in bfloat16, as models on the hub are."""
    folder = tmp_path_factory.mktemp("half") / "model"
    shutil.copytree(recipe.parent / "model", folder)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_all_weights_are_trained_in_float32(half: Path, train: Train, tmp_path: Path) -> None:
    """`dtype: auto` took the checkpoint's: at the rate of real runs 2% of the weights moved, where all were to."""
    before = load_file(half / "model.safetensors")
    moved = {}
    for dtype in ("auto", "bfloat16"):
        run = tmp_path / dtype
        fields = {"learning_rate": 1e-6, "max_grad_norm": 1e6, "max_steps": 2, "save_steps": 2}
        assert train(run, model=half, dtype=dtype, **fields) == 0
        after = load_file(run / "model" / "model.safetensors")
        assert {value.dtype for value in after.values()} == {torch.float32 if dtype == "auto" else torch.bfloat16}
        pairs = [(value.float(), after[name].float()) for name, value in before.items()]
        moved[dtype] = sum((a != b).sum().item() for a, b in pairs) / sum(a.numel() for a, _ in pairs)
    assert moved["bfloat16"] < 0.2 * moved["auto"], moved


def test_adapters_leave_the_models_own(half: Path) -> None:
    assert RunConfig(model=str(half)).weights_dtype == "float32"
    assert RunConfig(model=str(half), lora_rank=4).weights_dtype == "auto"
    assert RunConfig(model=str(half), dtype="bfloat16").weights_dtype == "bfloat16"


def test_the_doctor_says_what_it_costs(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, model = CEPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False), AutoConfig.from_pretrained(half)
    found = weights(model, RunConfig(dtype="bfloat16"), config)
    assert (found.verdict, "rounded away" in found.seen) == ("warn", True)
    assert found.seen.startswith("all are trained")
    assert weights(model, RunConfig(freeze_vision=True), config).seen.startswith("all but the vision tower's are")
    assert found.remedy.startswith("dtype: float32 (0.0 GiB more than in bfloat16")
    assert weights(model, RunConfig(), config).seen.startswith("all are trained, in float32 (0.0 GiB more")
    assert weights(model, RunConfig(dtype="bfloat16", lora_rank=8), config).verdict == "ok"
    packed = RunConfig(load_in_4bit=True, lora_rank=8)
    for is_there, verdict, words in ((None, "fail", "bitsandbytes is not installed"), (object(), "ok", "4 bits, LoRA")):
        monkeypatch.setattr(doctor, "find_spec", lambda name, found=is_there: found)
        found = weights(model, packed, config)
        assert found.verdict == verdict
        assert words in found.seen
