"""One call loads a model wherever it lies, an adapter merged into its base."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from cepo.errors import ModelError, SettingError
from cepo.models.embedded import EMBEDDED
from cepo.models.loading import load_checkpoint, load_model


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(1, 20)[None]).logits


@pytest.fixture(scope="module")
def base() -> PreTrainedModel:
    return load_model("tiny", "float32", None, False)[0]


def save_adapter(folder: Path) -> Tensor:
    """Save an adapter that changes something; its model's logits."""
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(load_model("tiny", "float32", None, False)[0], config)
    assert isinstance(adapted, PeftModel)
    adapted.save_pretrained(folder)
    return logits(adapted)


def test_a_name_a_folder_and_a_run_are_the_same_model(base: PreTrainedModel, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "run" / "model")
    for given in ("tiny", EMBEDDED, str(tmp_path / "run" / "model"), tmp_path / "run"):
        model, processor = load_checkpoint(given, dtype="float32")
        assert logits(model).equal(logits(base)), given
        assert processor.tokenizer("1+1")["input_ids"]


@pytest.mark.parametrize("where", [".", "model"], ids=["the adapter's folder", "its run"])
def test_an_adapter_is_merged(where: str, base: PreTrainedModel, tmp_path: Path) -> None:
    wanted = save_adapter(tmp_path / "run" / where)
    model, processor = load_checkpoint(tmp_path / "run", dtype="float32")
    assert not isinstance(model, PeftModel)
    assert not logits(model).allclose(logits(base), atol=1e-3)
    torch.testing.assert_close(logits(model), wanted, atol=1e-4, rtol=0)
    assert processor.tokenizer("1+1")["input_ids"]


def test_the_base_of_an_adapter(tmp_path: Path) -> None:
    wanted = save_adapter(tmp_path)
    file = tmp_path / "adapter_config.json"
    named = json.loads(file.read_text())
    assert named["base_model_name_or_path"] == str(EMBEDDED)

    file.write_text(json.dumps(named | {"base_model_name_or_path": f"/elsewhere/{EMBEDDED.name}"}))
    torch.testing.assert_close(logits(load_checkpoint(tmp_path, dtype="float32")[0]), wanted, atol=1e-4, rtol=0)

    file.write_text(json.dumps(named | {"base_model_name_or_path": "/elsewhere/model"}))
    with pytest.raises(ModelError, match="cannot load the model '/elsewhere/model'"):
        load_checkpoint(tmp_path)
    torch.testing.assert_close(
        logits(load_checkpoint(tmp_path, base="tiny", dtype="float32")[0]), wanted, atol=1e-4, rtol=0
    )

    file.write_text(json.dumps(named | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="names no base model"):
        load_checkpoint(tmp_path)
    file.write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json is not JSON"):
        load_checkpoint(tmp_path)


def test_a_base_named_by_a_relative_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    adapted = get_peft_model(load_model("base", "float32", None, False)[0], LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained("adapter")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_checkpoint("../adapter")


def test_an_adapter_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    save_adapter(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot load the adapter .* onto 'tiny'.*written to its end"):
        load_checkpoint(tmp_path)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unknown dtype 'float99'"):
        load_checkpoint("tiny", dtype="float99")
    with pytest.raises(ModelError, match=f"cannot load the model '{tmp_path}'"):
        load_checkpoint(tmp_path)


def test_loading_needs_no_trl() -> None:
    code = "import sys, cepo.models.loading; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
