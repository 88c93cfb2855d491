"""Copies of the weights teach the same whether each process holds all of them (DDP) or a shard (FSDP2, ZeRO-3)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from cepo import CEPOTrainer
from cepo.errors import RunFolderError
from cepo.scoring import ScoreRow, score
from cepo.scoring.weights import Teacher
from tests.pair import Outcome, Sharding, on_two
from tests.runs.small import write_model
from tests.trainer.small_text import build

ROW = [ScoreRow([5, 6, 7, 8], [9, 10, 11])]
SHARDED: list[Any] = [
    "fsdp2",
    pytest.param("zero3", marks=pytest.mark.skipif(find_spec("deepspeed") is None, reason="make test-deepspeed")),
]


class Told(CEPOTrainer):
    """Keeps what the run's teacher (`ema`), two others and the policy itself say of a row at each step."""

    def make_batch(self, inputs: Any, generate: Any) -> Any:
        if not hasattr(self, "said"):
            self.said: list[dict[str, list[float]]] = []
            self.kept_here = {"frozen": Teacher("frozen"), "synced": Teacher("synced", sync_every=2)}
            for teacher in self.kept_here.values():
                teacher.start(self.policy)
        self.kept_here["synced"].before_step(self.policy, self.state.global_step + 1)
        teachers = {"live": Teacher("live"), "ema": self.teacher, **self.kept_here}
        said = {}
        for name, teacher in teachers.items():
            with teacher.in_place(self.policy):
                said[name] = score(self.policy, ROW, width=3, precision="float32")[0].tolist()
        self.said.append(said)
        return super().make_batch(inputs, generate)


def zero3() -> dict[str, Any]:
    """Small parameters stay gathered between forwards, as is DeepSpeed's default: adapters are small."""
    auto = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    return {"zero_allow_untested_optimizer": True, "zero_optimization": {"stage": 3}, **dict.fromkeys(auto, "auto")}


def train(model: Path, sharding: Sharding, lora: bool, folder: Path, resume: str | None = None, **more: Any) -> Any:
    fields = {"teacher_weights": "ema", "teacher_ema_rate": 0.3, "save_strategy": "steps", "save_steps": 2} | more
    fields |= {"deepspeed": zero3()} if sharding == "zero3" else {}
    trainer = build(model, folder, Told, lora, max_steps=3, optim="sgd", learning_rate=0.1, **fields)
    trainer.train(resume_from_checkpoint=resume)
    return type(trainer.model_wrapped).__name__, trainer.said


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


def values(both: list[Outcome]) -> tuple[str, list[dict[str, list[float]]]]:
    assert not any(one.error or one.hung for one in both), "\n".join(one.error for one in both)
    assert both[0].value == both[1].value, "a score is the same on every process"
    return both[0].value


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("sharding", SHARDED)
def test_copies_of_shards_teach_as_whole_ones_do(sharding: Sharding, lora: bool, model: Path, tmp_path: Path) -> None:
    whole, wrapped = tmp_path / "ddp", tmp_path / sharding
    name, expected = values(on_two(lambda _, folder: train(model, "ddp", lora, folder), whole))
    assert name == "DistributedDataParallel"
    kind, found = values(on_two(lambda _, folder: train(model, sharding, lora, folder), wrapped, sharding))
    assert "FSDP" in kind or kind == "DeepSpeedEngine"
    for step, (one, other) in enumerate(zip(expected, found, strict=True)):
        for teacher in one:
            assert other[teacher] == pytest.approx(one[teacher], abs=1e-4), (step, teacher)
    last = {name: torch.tensor(logps) for name, logps in found[-1].items()}
    assert found[-1]["frozen"] == pytest.approx(found[0]["live"], abs=1e-6)
    assert found[-1]["synced"] == found[-1]["live"]
    assert min((last[name] - last["live"]).abs().max().item() for name in ("frozen", "ema")) > 1e-3
    if lora:
        went_on(sharding, model, wrapped, found[-1])


def went_on(sharding: Sharding, model: Path, folder: Path, expected: dict[str, list[float]]) -> None:
    """Each process takes its own part of the copy out of the checkpoint."""
    checkpoint = folder / "run" / "checkpoint-2"
    assert {file.name for file in checkpoint.glob("cepo_teacher*")} == {
        "cepo_teacher_0_of_2.safetensors", "cepo_teacher_1_of_2.safetensors"
    }  # fmt: skip
    again = folder.with_name("again")
    _, found = values(on_two(lambda _, to: train(model, sharding, True, to, str(checkpoint)), again, sharding))
    assert found[0]["ema"] == pytest.approx(expected["ema"], abs=1e-6)
    assert found[0]["live"] == pytest.approx(expected["live"], abs=1e-6)


def test_a_part_of_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    net, teacher = torch.nn.Linear(2, 2), Teacher("frozen")
    teacher.start(net)
    teacher.save(tmp_path, (0, 4))
    with pytest.raises(RunFolderError, match="by 2 processes"):
        Teacher("frozen").load(tmp_path, net, (0, 2))
