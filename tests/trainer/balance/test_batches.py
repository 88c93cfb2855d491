"""Dealt micro-batches have the gradient of TRL's own, with fewer rows and less padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cepo.errors import SettingError
from cepo.trainer.batch import Batch
from tests.trainer.conftest import MakeTrainer, text_model
from tests.trainer.test_micro_batch import live_and_dead_batch

STEPS: dict[str, Any] = {
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "skip_dead_groups": True
}  # fmt: skip


def window_of(trainer: Any, batch: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[Batch]]:
    """The gradient of an optimiser step's micro-batches, made of one generated batch, and these."""
    trainer.make_batch = lambda inputs, generate: batch
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    trainer.model.train()
    trainer.model.zero_grad()
    made = []
    for step in range(trainer.args.gradient_accumulation_steps):
        trainer._step = step
        inputs = trainer._prepare_inputs([])
        made.append(Batch(inputs))
        trainer._compute_loss(trainer.model, inputs).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}, made


def test_the_gradient_of_a_step_stays(make_trainer: MakeTrainer) -> None:
    plain, dealt = make_trainer(**STEPS), make_trainer(**STEPS, balance_batch=True)
    batch = live_and_dead_batch(plain)
    batch["completion_mask"] = batch["completion_mask"].clone()
    for row in range(8):  # of unlike lengths
        batch["completion_mask"][row, 4 + 2 * row :] = 0
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    whole, _ = window_of(plain, batch)
    fewer, made = window_of(dealt, batch)
    assert [len(one) for one in made] == [2, 2]
    assert [one.width for one in made] == [18, 12], "rows 5 and 7, then 1 and 4, each cut to its longest"
    assert all(image is not None for one in made for image in one.images())
    scale = max(float(gradient.abs().max()) for gradient in whole.values())
    assert scale > 0
    for name in whole:
        torch.testing.assert_close(fewer[name], whole[name], atol=1e-5 * scale, rtol=1e-4)


def test_without_live_rows_a_micro_batch_has_one_that_is_dead(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(**STEPS, balance_batch=True)
    batch = live_and_dead_batch(trainer)
    batch["advantages"] = torch.zeros(8)
    gradient, made = window_of(trainer, batch)
    assert [len(one) for one in made] == [1, 1]
    assert all(not own.any() for own in gradient.values())


@pytest.mark.parametrize(
    ("accumulated", "live", "rows"),
    [(1, [0, 1, 2, 3], [4, 1, 1, 1]), (2, [0, 1, 2, 3], [2, 2, 1, 1]), (4, [0, 1, 2, 3], [1] * 4), (4, [5], [1] * 4)],
)
def test_rows_stay_in_their_optimiser_step(
    make_text_trainer: MakeTrainer, accumulated: int, live: list[int], rows: list[int]
) -> None:
    """Where a micro-batch has none of them stands the shortest row, from which nothing is learnt: here 5, 1 token."""
    fields = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": accumulated, "skip_dead_groups": True}
    trainer = make_text_trainer(**fields, steps_per_generation=4, balance_batch=True)
    advantages = torch.zeros(16)
    advantages[live] = 1.0
    ids, mask = torch.full((16, 3), 7), torch.ones(16, 3, dtype=torch.long)
    lengths = mask.clone()
    lengths[5, 1:] = 0
    named = {"prompt_ids": ids, "prompt_mask": mask, "completion_ids": ids, "completion_mask": lengths}
    cut = [
        {name: value[start : start + 4] for name, value in named.items()}
        | {"advantages": advantages[start : start + 4]}
        for start in range(0, 16, 4)
    ]
    made = [Batch(one) for one in trainer.micro_batches(cut)]
    assert list(map(len, made)) == rows
    assert sum(int(one.alive().sum()) for one in made) == len(live)
    if accumulated == 4:
        assert [one.width for one in made if not one.alive().any()] == [1] * (4 - len(live))


def test_what_it_cannot_be_used_with_is_said(make_text_trainer: MakeTrainer) -> None:
    with pytest.raises(SettingError, match="set skip_dead_groups: true"):
        make_text_trainer(balance_batch=True)


@pytest.mark.parametrize("method", ["cepo", "grpo"])
def test_a_model_that_counts_its_padding_is_refused(method: str, make_text_trainer: MakeTrainer) -> None:
    """Learnt positions, which TRL does not pass, are told from the first column on."""
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256, "initializer_range": 0.5}
    own = text_model().config
    config = GPT2Config(vocab_size=own.vocab_size, eos_token_id=own.eos_token_id, bos_token_id=None, **sizes)
    fields: dict[str, Any] = {"model": GPT2LMHeadModel(config).eval(), "method": method, "skip_dead_groups": True}
    make_text_trainer(**fields)
    with pytest.raises(SettingError, match="GPT2LMHeadModel reads it: its log-probs behind 8 columns"):
        make_text_trainer(**fields, balance_batch=True)
