"""Launching on many devices, the doctor, and the export: what can be known without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from peft import LoraConfig, get_peft_model
from PIL import Image

from cepo.cli import launch, main
from cepo.models.loading import load_model
from cepo.models.processor import load_processor
from cepo.runs import doctor
from cepo.runs.export import export_run
from cepo.runs.recipe import PACKAGED, load_recipe
from cepo.trainer.checkpoint import COMPLETE, last_checkpoint
from tests.gpu import ON_GPU
from tests.trainer.conftest import embedded

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
    named = [
        json.loads((out / name).read_text())["processor_class"]
        for name in ("processor_config.json", "tokenizer_config.json")
    ]
    assert set(named) == {"Qwen3VLProcessor"}, "AutoProcessor would give the tokenizer alone"
    processor: Any = load_processor(str(out))
    picture = processor(images=[Image.new("RGB", (96, 96))], text=["<|image_pad|>"], return_tensors="pt")
    assert picture["pixel_values"].shape[0] == picture["image_grid_thw"].prod()
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


def test_an_export_from_what_is_half_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted run, a half-written adapter, and a base model that is not to be had: one sentence each."""

    def refused(run: Path) -> str:
        assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cepo: error: ")]
        assert not (tmp_path / "out" / "README.md").exists()
        return line

    run, _ = run_folder(tmp_path / "interrupted", False)
    (run / "model").rename(run / "checkpoint-3")
    assert "model missing" in refused(run)
    run, _ = run_folder(tmp_path / "cut", True)
    whole = (run / "model" / "adapter_model.safetensors").read_bytes()
    (run / "model" / "adapter_model.safetensors").write_bytes(whole[: len(whole) // 2])
    line = refused(run)
    assert str(run / "model") in line
    assert "adapter" in line
    run, _ = run_folder(tmp_path / "elsewhere", True)
    (run / "config.yaml").write_text(yaml.safe_dump(EMBEDDED_RUN | {"model": "/nowhere/model"}))
    assert "cannot load the model '/nowhere/model'" in refused(run)
    (run / "config.yaml").write_text("model: [tiny\n")
    assert f"{run / 'config.yaml'} is not YAML" in refused(run)


def test_only_whole_checkpoints_are_resumed_from(tmp_path: Path) -> None:
    """A kill while a checkpoint is written leaves it without its last file."""
    assert last_checkpoint(tmp_path) is None
    for step, whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
        if whole:
            (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_the_doctor_finds_unequal_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor.version
    others = {"trl": "1.20.0", "peft": None}

    def version(name: str) -> str:
        have = others.get(name, "")
        if have is None:
            raise PackageNotFoundError(name)
        return have or installed(name)

    monkeypatch.setattr(doctor, "version", version)
    found = {finding.name: finding for finding in doctor.versions()}
    [wanted] = {r.specifier for r in map(Requirement, requires("cepo") or []) if r.name == "trl" and r.marker is None}
    assert (found["trl"].verdict, found["trl"].seen) == ("fail", f"1.20.0, cepo needs {wanted}")
    assert found["trl"].remedy == f"pip install 'trl{wanted}'"
    assert (found["peft"].verdict, found["peft"].seen) == ("fail", "not installed")


def test_the_doctor_without_hub_gpu_and_vllm(tmp_path: Path) -> None:
    """In a process of its own: the hub's client reads its offline switch when it is imported."""
    command = [sys.executable, "-m", "cepo.cli", "doctor", "--config", "geometry3k/cepo.yaml"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command += ["--output_dir", str(tmp_path), "--vllm_mode", "server", "--vllm_server_base_url", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("fail")] == ["model", "data", "vllm", "vllm"]
    assert any(line.startswith("warn devices") and "no GPU" in line for line in lines)
    for line, after in pairwise(lines):
        assert not line.startswith("fail") or after.strip().startswith("->"), f"no remedy: {line}"
    assert "Traceback" not in done.stdout + done.stderr


def test_launch_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["launch", "--config", "geometry3k/cepo.yaml", *words]) == 2
        return capsys.readouterr().err

    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    assert "pip install 'cepo[deepspeed]'" in refused("--accelerate", "zero3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "need 8 GPUs each, this one has 2: pass --processes 2" in refused("--accelerate", "ddp")
    many = ["--accelerate", "two_nodes", "--nodes", "2", "--main-address", "host"]
    assert "--processes 4" in refused(*many)
    monkeypatch.setattr("cepo.trainer.checks.find_spec", lambda name: None)
    assert "pip install 'cepo[vllm]'" in refused(*many, "--processes", "4")


@pytest.mark.parametrize("path", sorted((PACKAGED / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_every_config(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(yaml_file=str(path))
    expected = {"one_gpu": "NO", "ddp": "MULTI_GPU", "two_nodes": "MULTI_GPU", "fsdp2": "FSDP"}
    assert str(config.distributed_type).endswith(expected.get(path.stem, "DEEPSPEED"))


@pytest.mark.parametrize(
    ("words", "port"),
    [
        (["two_nodes", "--nodes", "2", "--main-address", "host"], 29500),
        (["two_nodes", "--nodes", "2", "--main-address", "host", "--main-port", "7"], 7),
        (["ddp"], 0),
        (["ddp", "--main-port", "7"], 7),
        (["{own}"], 4321),
    ],
)
def test_two_runs_of_one_machine_do_not_meet(
    words: list[str], port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text((PACKAGED / "accelerate" / "ddp.yaml").read_text() + "main_process_port: 4321\n")
    words = [word.format(own=own) for word in words]
    assert main(["launch", "--config", "geometry3k/cepo.yaml", "--dry-run", "--accelerate", *words]) == 0
    assert f"--main_process_port {port} " in capsys.readouterr().out


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
        (["launch", "--config", "tiny/cepo.yaml"], "this one has" if ON_GPU else "no GPU"),
    ):
        assert main(wrong) == 2
        assert words in capsys.readouterr().err


def test_shipped_recipes_are_found_by_name() -> None:
    assert load_recipe(Path("tiny/cepo.yaml")) == load_recipe(PACKAGED / "tiny" / "cepo.yaml")
    assert load_recipe(Path("recipes/tiny/cepo.yaml"))["method"] == "cepo"
