"""What the teachers see, observed through the trainer: the images, the student's own function, its temperature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor
from trl import GRPOTrainer

import cepo.trainer.trainer as hook
from cepo.credit.step import StepCredit
from cepo.data.rows import problem_row
from cepo.geometry import generate
from tests.trainer.conftest import MakeTrainer

BLOCK = (0, 0, 64, 128)  # the left half of the diagram


def by_turns(completions: Any, **_: Any) -> list[float]:
    """Right, wrong, right, ...: every group is decided, whatever the model says."""
    return [float(index % 2) for index in range(len(completions))]


DECIDED: dict[str, Any] = {"reward_funcs": [by_turns], "wrong_reward": "by_turns"}


def generated(trainer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The trainer's first rows, and TRL's own batch of them, before any credit."""
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return inputs, GRPOTrainer._generate_and_score_completions(trainer, inputs)


def credited(trainer: Any, inputs: Any, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> StepCredit:
    """What the trainer's hook credits when TRL hands it this batch."""
    seen: list[StepCredit] = []
    real = hook.assign_credit

    def keeping(*arguments: Any, **options: Any) -> StepCredit:
        result = real(*arguments, **options)
        seen.append(result)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(hook, "assign_credit", keeping)
        patch.setattr(GRPOTrainer, "_generate_and_score_completions", lambda self, inputs: dict(batch))
        trainer._generate_and_score_completions(inputs)
    (result,) = seen
    assert result.rows
    return result


def evidence(result: StepCredit) -> Tensor:
    assert result.credit is not None
    return result.credit.evidence_BT


def trl_logps(trainer: Any, batch: dict[str, Any]) -> Tensor:
    """The student's log-probs as TRL's loss computes them, from its left-padded batch, (B, T)."""
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            batch["completion_ids"].shape[1],
            **{name: batch[name] for name in names},
        )
    return logps


def error(result: StepCredit, logp_BT: Tensor, batch: dict[str, Any]) -> float:
    """Largest difference between the scored student and `logp_BT` on tokens that count, nats (relative above 1)."""
    rows = list(result.rows)
    mask_BT = batch["completion_mask"][rows].bool()
    expected_N = logp_BT[rows][mask_BT]
    student_BT = torch.stack([result.logps[row]["student"] for row in rows])
    return ((student_BT[mask_BT] - expected_N).abs() / expected_N.abs().clamp(min=1.0)).max().item()


def change(before: StepCredit, after: StepCredit) -> Tensor:
    """Largest change of evidence in each row, nats, (B,)."""
    assert before.rows == after.rows
    return (evidence(before) - evidence(after)).abs().amax(dim=1)


def repainted(trainer: Any, inputs: Any, batch: dict[str, Any], which: int) -> dict[str, Any]:
    """The batch as it would be with a block of image `which` of every row painted over."""
    images = []
    for row in inputs:
        own = [image.copy() for image in row["images"]]
        own[which].paste("white", BLOCK)
        images.extend(own)
    processed = trainer.processing_class.image_processor(images=images, return_tensors="pt")
    processed = processed.to(batch["pixel_values"].device)
    assert torch.equal(processed["image_grid_thw"], batch["image_grid_thw"])
    assert not torch.equal(processed["pixel_values"], batch["pixel_values"])
    return batch | {"pixel_values": processed["pixel_values"]}


@pytest.fixture(scope="module")
def pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Problems with two images each: the diagram, and another one."""
    shifted = [*rows[1:], rows[0]]
    return [row | {"images": [*row["images"], *other["images"]]} for row, other in zip(rows, shifted, strict=True)]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_without_a_reference_the_teacher_is_the_student_of_trl(
    temperature: float, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [problem for family in ("circle_angles", "parallelogram", "exterior_angle")
                for problem in generate("train", 8, seed=2, families=[family])]  # fmt: skip
    data = Dataset.from_list([problem_row(problem) for problem in problems])
    trainer = make_trainer(
        method="rlsd", temperature=temperature, train_dataset=data, per_device_train_batch_size=24, **DECIDED
    )
    inputs, batch = generated(trainer)
    lengths = batch["prompt_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 1, "equal prompts need no padding: a vacuous comparison"
    assert (batch["prompt_mask"][:, 0] == 0).any()
    result = credited(trainer, inputs, batch, monkeypatch)
    assert any(lengths[row] < lengths.max() for row in result.rows)
    student_BT = trl_logps(trainer, batch)
    assert error(result, student_BT, batch) <= 1e-5
    trainer.scorer = replace(trainer.scorer, temperature=temperature * 1.1)
    assert error(credited(trainer, inputs, batch, monkeypatch), student_BT, batch) > 1e-3


def test_the_teachers_see_the_image(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(**DECIDED)
    inputs, batch = generated(trainer)
    before = credited(trainer, inputs, batch, monkeypatch)
    again = credited(trainer, inputs, batch, monkeypatch)
    after = credited(trainer, inputs, repainted(trainer, inputs, batch, 0), monkeypatch)
    assert (change(before, again) < 1e-5).all()
    changed_B = change(before, after)
    assert (changed_B > 1e-4).all()
    assert changed_B.max() > 0.1


def test_a_blind_teacher_does_not(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(teacher_sees_images=False, reference_fallback="grpo")
    inputs, batch = generated(trainer)
    before = credited(trainer, inputs, batch, monkeypatch)
    after = credited(trainer, inputs, repainted(trainer, inputs, batch, 0), monkeypatch)
    assert (evidence(before).abs().amax(dim=1) > 1e-3).any()
    assert (change(before, after) < 1e-5).all()


@pytest.mark.parametrize("which", [0, 1])
def test_every_image_of_a_row_counts(
    which: int, make_trainer: MakeTrainer, pairs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(method="rlsd", train_dataset=Dataset.from_list(pairs), **DECIDED)
    inputs, batch = generated(trainer)
    assert batch["num_images"] == [2] * 8
    before = credited(trainer, inputs, batch, monkeypatch)
    assert error(before, trl_logps(trainer, batch), batch) <= 2e-5  # either is within 1e-5 of float64
    after = credited(trainer, inputs, repainted(trainer, inputs, batch, which), monkeypatch)
    assert (change(before, after) > 1e-4).all()


@pytest.mark.parametrize("counts", [(2, 2), (2, 1), (1, 0)], ids=str)
def test_it_trains_with_several_images(
    counts: tuple[int, int], make_trainer: MakeTrainer, pairs: list[dict[str, Any]]
) -> None:
    """Rows of one data set may have two images, one, or none."""
    data = Dataset.from_list([row | {"images": row["images"][: counts[index % 2]]} for index, row in enumerate(pairs)])
    trainer: Any = make_trainer(train_dataset=data, max_steps=1, per_device_train_batch_size=16, **DECIDED)
    start = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.state.log_history[0]["credit/rows_scored"] > 0
    assert trainer.state.log_history[0]["credit/rows_nonfinite"] == 0
    moved = [name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, start[name])]
    assert moved
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_a_row_is_scored_alike_beside_rows_with_other_images(
    make_trainer: MakeTrainer, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image belongs to its row: repainting one problem's image leaves the other problems' evidence."""
    trainer: Any = make_trainer(per_device_train_batch_size=16, **DECIDED)
    inputs, batch = generated(trainer)
    before = credited(trainer, inputs, batch, monkeypatch)
    target = inputs[before.rows[0]]["id"]
    other = [dict(row) for row in inputs]
    for row in other:
        if row["id"] == target:
            row["images"] = [Image.new("RGB", row["images"][0].size, "white")]
    images = [image for row in other for image in row["images"]]
    pixels = trainer.processing_class.image_processor(images=images, return_tensors="pt")["pixel_values"]
    after = credited(trainer, inputs, batch | {"pixel_values": pixels}, monkeypatch)
    changed_B = change(before, after)
    own_B = torch.tensor([inputs[row]["id"] == target for row in before.rows])
    assert not own_B.all(), "one problem alone was credited: a vacuous comparison"
    assert (changed_B[own_B] > 1e-3).all()
    assert (changed_B[~own_B] < 1e-5).all()
