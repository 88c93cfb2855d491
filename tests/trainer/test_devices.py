"""A step of credit on a batch and a model that are not on the CPU: a tensor made in the wrong place is an error.

Rollouts are generated on the CPU and then moved; from there on everything runs elsewhere, as `tests.elsewhere` has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor
from trl import GRPOTrainer

from cepo.reports.traces import read_traces
from cepo.scoring import ScoreRow
from cepo.scoring.weights import Teacher
from cepo.trainer.batch import KINDS, Batch, Kind
from cepo.trainer.micro_batch import without_dead_rows
from cepo.trainer.resample import Drawn, Resampler
from tests.elsewhere import DEVICE, Elsewhere, elsewhere, move
from tests.gpu import ON_GPU
from tests.trainer.conftest import MakeTrainer, text_model

pytestmark = pytest.mark.skipif(ON_GPU, reason="the rollouts of these tests are to be on the CPU")


def every_other(completions: Any, **_: Any) -> list[float]:
    return [float(row % 2) for row in range(len(completions))]


FIELDS: dict[str, Any] = {"reward_funcs": [every_other], "wrong_reward": "every_other", "max_completion_length": 12,
                          "null_control_every": 1, "log_completions": True}  # fmt: skip


def there(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


def generated(trainer: Any) -> Drawn:
    """A batch of TRL's, moved."""
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    raw = GRPOTrainer._generate_and_score_completions(trainer, inputs)
    graded = replace(trainer._graded, rewards=there(trainer._graded.rewards))
    return Drawn(inputs, Batch({name: there(value) for name, value in raw.items()}), graded)


@contextmanager
def moved(trainer: Any) -> Iterator[None]:
    """Within the block the trainer's model, and what the trainer makes, is elsewhere."""
    trainer.model.set_attn_implementation("eager")
    move(trainer.model)
    with pytest.MonkeyPatch.context() as patch, elsewhere():
        patch.setattr(Accelerator, "device", property(lambda _: DEVICE))
        for name in ("gather", "reduce"):  # between processes, NCCL takes nothing from the CPU
            patch.setattr(Accelerator, name, checked(getattr(Accelerator, name)))
        yield


def checked(collective: Any) -> Any:
    def of_there(accelerator: Any, tensor: Tensor, *more: Any, **named: Any) -> Any:
        assert tensor.device == DEVICE, "a collective call with a tensor on the CPU"
        return collective(accelerator, tensor, *more, **named)

    return of_there


def is_there(batch: Batch) -> bool:
    return all(value.device == DEVICE for value in batch.raw.values() if isinstance(value, Tensor))


TEXT_RULES = [("cepo", {"evidence_dead_zone": "auto"}), ("distilled_rl", {}), ("cepo", {"credit_control": "mass"})]


@pytest.mark.parametrize(("method", "fields"), TEXT_RULES)
def test_a_step_of_credit(method: str, fields: dict[str, Any], make_text_trainer: MakeTrainer) -> None:
    trainer: Any = make_text_trainer(method=method, **FIELDS, **fields)
    drawn = generated(trainer)
    with moved(trainer):
        batch = trainer._with_credit(drawn)
        assert is_there(batch)
        assert batch.advantages.shape == drawn.batch.completion_ids.shape
        assert is_there(without_dead_rows(batch, trainer.accelerator))
    trainer._recorder.flush()
    assert any(record.logps for record in read_traces(trainer.args.run_folder / "traces")), "records end in a warning"
    assert trainer._metrics["train"]["credit/rows_scored"][0] > 0


def test_a_step_of_credit_with_images(make_trainer: MakeTrainer) -> None:
    trainer: Any = make_trainer(method="cepo", **FIELDS)
    drawn = generated(trainer)
    with moved(trainer):
        batch = trainer._with_credit(drawn)
        assert is_there(batch)
        assert is_there(batch.taking([1, 2]))
    assert trainer._metrics["train"]["credit/rows_scored"][0] > 0


@pytest.mark.parametrize("method", ["opsd", "sdpo"])
def test_a_distillation(method: str, make_text_trainer: MakeTrainer) -> None:
    """The loss; its backward pass is autograd's, which puts tensors where those of the forward are."""
    trainer: Any = make_text_trainer(method=method, distill_top_k=5, teacher_weights="ema", **FIELDS)
    drawn = generated(trainer)
    trainer.teacher = trainer._distillation.teacher = Teacher("ema")
    with moved(trainer):
        trainer.teacher.start(trainer.policy)
        batch = trainer._with_credit(drawn).having(old_per_token_logps=there(torch.zeros(drawn.batch.loss_mask.shape)))
        assert is_there(batch)
        loss = trainer.loss_of(trainer.model, batch.raw, None)
        assert loss.device == DEVICE
        assert loss.requires_grad
        trainer._distillation.check(trainer.policy, batch_rows(batch))


def batch_rows(batch: Batch) -> list[ScoreRow]:
    pairs = zip(batch.prompts(), batch.completions(), strict=True)
    return [ScoreRow(prompt, completion, None, 0) for prompt, completion in list(pairs)[:2]]


@pytest.mark.parametrize("images", [True, False])
def test_replacing_dead_groups(images: bool, make_trainer: MakeTrainer, dataset: Dataset) -> None:
    """By problems with images, and by others."""
    trainer: Any = make_trainer(method="grpo", **FIELDS | {"log_completions": False})
    drawn, size = generated(trainer), 4
    with moved(trainer):
        wide = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in drawn.batch.raw.items()
                if KINDS[name] in (Kind.COMPLETION, Kind.SEQUENCE) and value.dim() > 1}  # fmt: skip
        left_out = () if images else ("mm_token_type_ids", "pixel_values", "image_grid_thw", "num_images")
        fresh = Batch({name: value for name, value in {**drawn.batch.raw, **wide}.items() if name not in left_out})
        rewards = drawn.graded.rewards.clone()
        rewards[:size] = 1.0
        resampler = Resampler(
            1, dataset, size, 0, trainer.accelerator, total=trainer.total_rewards, log=lambda *_: None,
            generate=lambda rows: Drawn(rows * (len(drawn.inputs) // len(rows)), fresh, drawn.graded),
        )  # fmt: skip
        found = resampler(replace(drawn, graded=replace(drawn.graded, rewards=rewards)), "seed")
        assert is_there(found.batch)
        assert found.batch.width == drawn.batch.width + 3
        assert found.graded.rewards.device == DEVICE


@pytest.mark.parametrize("kind", ["frozen", "synced", "ema"])
def test_copies_of_the_weights(kind: str, tmp_path: Path) -> None:
    model = move(text_model())
    teacher, again = Teacher(kind, sync_every=1), Teacher(kind)
    with elsewhere():
        teacher.start(model)
        teacher.before_step(model, 1)
        teacher.after_step(model)
        with teacher.disturbed(), teacher.in_place(model):
            assert all(parameter.device == DEVICE for parameter in model.parameters())
        teacher.save(tmp_path)
        again.load(tmp_path, model)
        assert {tensor.device for tensor in cast(Any, again)._shadow.values()} == {DEVICE}
