"""Launching on many devices, the doctor, and the export: what can be known without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from cepo.cli import main
from cepo.models.processor import load_processor
from cepo.training.export import export_run
from cepo.training.recipe import PACKAGED, load_recipe
from cepo.training.run import load_model
from tests.training.conftest import embedded

EMBEDDED_RUN = {
    "model": "tiny", "data": "geometry", "data_split": "train", "rewards": ["accuracy_reward"], "method": "cepo",
    "preset": "default", "seed": 3, "learning_rate": 1e-4, "credit": {"credit_clip": 0.5},
}  # fmt: skip


def run_folder(path: Path, lora: bool) -> tuple[Path, Any]:
    """A finished run as `cepo train` leaves it, and the model that it stands for."""
    model: Any = embedded()
    torch.manual_seed(0)
    if lora:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    else:
        model.lm_head.weight.data.add_(0.01)
    path.mkdir()
    model.save_pretrained(path / "model")
    load_processor(str(Path(embedded().config._name_or_path))).save_pretrained(path / "model")
    (path / "config.yaml").write_text(yaml.safe_dump(EMBEDDED_RUN))
    (path / "versions.json").write_text(json.dumps({"cepo": "0.1.0", "git": "abc"}))
    return path, model.eval()


@pytest.mark.parametrize("lora", [False, True])
def test_an_export_loads_plainly_and_computes_the_same(lora: bool, tmp_path: Path) -> None:
    run, model = run_folder(tmp_path / "run", lora)
    out = export_run(run, tmp_path / "out")
    again, _ = load_model(str(out), "float32", None, trust_remote_code=False)
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=0)
    assert not (out / "adapter_config.json").exists()
    assert list(out.glob("*.safetensors"))
    card = (out / "README.md").read_text()
    for words in ("CEPO", "seed 3", "`geometry`", "abc", "No evaluation"):
        assert words in card


def test_export_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["export", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "not a finished run" in capsys.readouterr().err
    run, _ = run_folder(tmp_path / "run", False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    (run / "model" / "model.safetensors").write_bytes(b"half")
    assert main(["export", str(run), "--out", str(tmp_path / "other")]) == 2
    assert "cepo: error:" in capsys.readouterr().err


def test_the_doctor_passes_the_demo_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = ["--output_dir", str(tmp_path)]
    assert main(["doctor", "--config", "tiny/cepo.yaml", *fields]) == 0
    out = capsys.readouterr().out
    for words in ("64 to 64 image tokens", "of 1024 positions", "GiB free", "weights 0.0"):
        assert words in out
    assert main(["doctor", "--config", "tiny/cepo.yaml", "--max_completion_length", "1000", *fields]) == 1
    assert "lower max_completion_length" in capsys.readouterr().out
    assert main(["doctor", "--config", "tiny/cepo.yaml", "--model", "/nowhere", "--data", "/no.jsonl", *fields]) == 1
    out = capsys.readouterr().out
    assert "/nowhere" in out
    assert "/no.jsonl" in out
    assert out.count("fail") == 2


@pytest.mark.parametrize("path", sorted((PACKAGED / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_every_config(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(yaml_file=str(path))
    expected = {"one_gpu": "NO", "ddp": "MULTI_GPU", "two_nodes": "MULTI_GPU", "fsdp2": "FSDP"}
    assert str(config.distributed_type).endswith(expected.get(path.stem, "DEEPSPEED"))


def test_the_launch_command(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["launch", "--config", "geometry3k/cepo.yaml", "--accelerate", "two_nodes", "--nodes", "2", "--dry-run"]
    assert main([*command, "--node-rank", "1", "--main-address", "host", "--learning_rate", "1e-6"]) == 0
    line = capsys.readouterr().out
    for words in ("--num_machines 2", "--machine_rank 1", "--main_process_ip host", "--learning_rate 1e-6"):
        assert words in line
    assert "geometry3k/cepo.yaml" in line
    for wrong, words in (
        (command, "--main-address"),
        ([*command, "--node-rank", "5", "--main-address", "h"], "0..1"),
        (["launch", "--config", "tiny/cepo.yaml", "--accelerate", "fsdp9"], "fsdp2"),
        (["launch", "--config", "tiny/cepo.yaml"], "no GPU"),
    ):
        assert main(wrong) == 2
        assert words in capsys.readouterr().err


def test_shipped_recipes_are_found_by_name() -> None:
    assert load_recipe(Path("tiny/cepo.yaml")) == load_recipe(PACKAGED / "tiny" / "cepo.yaml")
    assert load_recipe(Path("recipes/tiny/cepo.yaml"))["method"] == "cepo"
