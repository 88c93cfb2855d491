"""Two processes with unlike work share it: the same parameters after the steps, and half of it for each to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.pair import Outcome, Sharding, on_two
from tests.runs.small import write_model
from tests.trainer.conftest import SETTINGS, embedded
from tests.trainer.small_text import build

FIELDS: dict[str, Any] = {
    "wrong_reward": "one_sided", "max_steps": 2, "optim": "sgd", "learning_rate": 0.5, "max_completion_length": 24,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "skip_dead_groups": True,
    "null_control_every": 1, "credit_strength": 0.5, "disable_tqdm": True, "logging_strategy": "no",
}  # fmt: skip


def one_sided(completions: list[Any], **_: Any) -> list[float]:
    """Only the first process has anything to learn."""
    return [float(torch.distributed.get_rank() == 0 and row % 2) for row in range(len(completions))]


class Counting(CEPOTrainer):
    """Counts the padded tokens that go through this process's model, in its updates and in its scoring."""

    def count(self) -> dict[str, int]:
        found = {"update": 0, "scoring": 0}

        def add(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
            if not self.is_generating:
                found["update" if torch.is_grad_enabled() else "scoring"] += kwargs["input_ids"].numel()

        self.accelerator.unwrap_model(self.model).register_forward_pre_hook(add, with_kwargs=True)
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        return self.accelerator.get_state_dict(self.model)


def trained(trainer: Any) -> dict[str, Any]:
    tokens = trainer.count()
    before = {name: value.clone() for name, value in trainer.weights().items()}
    trainer.train()
    return {"weights": trainer.weights(), "before": before, "tokens": tokens}


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def check_weights(both: list[Outcome]) -> None:
    assert not any(one.error or one.hung for one in both), "".join(one.error for one in both)
    alone, shared = both[0].value
    learned = largest_difference(alone["weights"], alone["before"])
    assert largest_difference(alone["weights"], shared["weights"]) < 1e-4 * learned


def check_alike(both: list[Outcome], sharding: Sharding = "ddp") -> None:
    check_weights(both)
    apart, together = ([one.value[place]["tokens"] for one in both] for place in (0, 1))
    assert max(own["update"] for own in together) < 0.6 * apart[0]["update"]
    if sharding == "ddp":  # with sharded weights a process without rows runs as many forwards as the other
        assert apart[1]["scoring"] == 0
        assert max(own["scoring"] for own in together) < 0.6 * apart[0]["scoring"]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", pytest.param("fsdp2", marks=pytest.mark.long)])
def test_shared_work_trains_alike(sharding: Sharding, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")

    def work(rank: int, folder: Path) -> list[dict[str, Any]]:
        return [
            trained(build(model, folder / str(on), Counting, rewards=[one_sided], balance_batch=on, **FIELDS))
            for on in (False, True)
        ]

    check_alike(on_two(work, tmp_path / "two", sharding, seconds=100), sharding)


@pytest.mark.slow
@pytest.mark.long
def test_taught_rows_are_shared_too(tmp_path: Path) -> None:
    """Only the first process has right siblings that SDPO's teacher could be told."""
    model = write_model(tmp_path / "model")

    def work(rank: int, folder: Path) -> list[dict[str, Any]]:
        fields = FIELDS | {"method": "sdpo", "optim": "sgd"}
        return [
            trained(build(model, folder / str(on), Counting, rewards=[one_sided], balance_batch=on, **fields))
            for on in (False, True)
        ]

    both = on_two(work, tmp_path / "two", "ddp", seconds=100)
    check_weights(both)
    apart, together = ([one.value[place]["tokens"] for one in both] for place in (0, 1))
    assert max(own["update"] for own in together) < 0.7 * max(own["update"] for own in apart)


@pytest.mark.slow
@pytest.mark.long
def test_rows_take_their_images_along(tmp_path: Path) -> None:
    def work(rank: int, folder: Path) -> list[dict[str, Any]]:
        data = Dataset.from_list([problem_row(problem) for problem in generate("train", 24, seed=5)])
        found = []
        for on in (False, True):
            torch.manual_seed(0)
            config = CEPOConfig(**{**SETTINGS, **FIELDS, "output_dir": str(folder / str(on)), "balance_batch": on})
            parts: dict[str, Any] = {"train_dataset": data, "processing_class": load_processor(str(EMBEDDED))}
            found.append(trained(Counting(embedded(), [one_sided], config, **parts)))
        return found

    check_alike(on_two(work, tmp_path / "two", "ddp", seconds=150))


@pytest.mark.slow
@pytest.mark.long
def test_a_run_goes_on_with_dealt_batches(tmp_path: Path) -> None:
    """A checkpoint within generated batches has those that rows were dealt to."""
    model = write_model(tmp_path / "model")
    fields = FIELDS | {"gradient_accumulation_steps": 1, "steps_per_generation": 2, "max_steps": 3}
    fields |= {"save_strategy": "steps", "save_steps": 1}

    def work(rank: int, folder: Path) -> list[dict[str, Any]]:
        found = []
        for name in ("through", "resumed"):
            trainer = build(model, folder, Counting, rewards=[one_sided], balance_batch=True, **fields)
            trainer.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-1") if name == "resumed" else None)
            found.append(trainer.weights())
        return found

    both = on_two(work, tmp_path / "two", "ddp", seconds=100)
    assert not any(one.error or one.hung for one in both), "".join(one.error for one in both)
    through, resumed = both[0].value
    assert largest_difference(through, resumed) == 0.0


def half(completions: list[Any], **_: Any) -> list[float]:
    return [float(row % 2) for row in range(len(completions))]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("on", [False, True])
def test_one_process_without_an_image(on: bool, tmp_path: Path) -> None:
    """Without balance_batch too: TRL gathers its table's images where a process has some (`log_multimodal`), and the
    next collective takes them for its own."""

    def work(rank: int, folder: Path) -> int:
        rows: list[dict[str, Any]] = [dict(problem_row(problem)) for problem in generate("train", 8, seed=5)]
        rows = [{**row, "images": row["images"] if place % 2 else []} for place, row in enumerate(rows)]
        fields = {
            **SETTINGS, "output_dir": str(folder / "run"), "per_device_train_batch_size": 4, "shuffle_dataset": False,
            "max_completion_length": 8, "wrong_reward": "half", "null_control_every": 1, "max_steps": 1,
            "skip_dead_groups": True, "balance_batch": on,
        }  # fmt: skip
        parts: dict[str, Any] = {
            "train_dataset": Dataset.from_list(rows),
            "processing_class": load_processor(str(EMBEDDED)),
        }
        trainer = CEPOTrainer(embedded(), [half], CEPOConfig(**fields), **parts)
        trainer.train()
        return trainer.state.global_step

    both = on_two(work, tmp_path / "two", "ddp", seconds=60)
    assert [one.value for one in both] == [1, 1], "".join(one.error for one in both)
