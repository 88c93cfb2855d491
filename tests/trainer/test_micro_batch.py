"""Leaving dead rows out of the update: the same gradient, and fewer rows in the forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainer.conftest import MakeTrainer


def gradients(trainer: Any, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    trainer._compute_loss(trainer.model, dict(inputs)).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def live_and_dead_batch(trainer: Any) -> dict[str, Any]:
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    batch = trainer._generate_and_score_completions(inputs)
    advantage_BT = batch["advantages"]
    if advantage_BT.dim() == 1:
        advantage_BT = advantage_BT[:, None].repeat(1, batch["completion_ids"].shape[1])
    advantage_BT = (
        torch.linspace(-1.0, 1.0, advantage_BT.numel(), device=advantage_BT.device).view_as(advantage_BT) + 2.0
    )
    advantage_BT[[0, 2, 3, 6]] = 0.0
    return batch | {"advantages": advantage_BT}


def test_skipping_dead_rows_keeps_the_gradient(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    batch = live_and_dead_batch(trainer)
    whole = gradients(trainer, batch)
    rows: list[int] = []
    real = trainer._get_per_token_logps_and_entropies

    def counting(model: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(input_ids))
        return real(model, input_ids, *args, **kwargs)

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", counting)
    trainer.args.skip_dead_groups = True
    fewer = gradients(trainer, batch)
    assert rows == [4]
    scale = max(float(gradient.abs().max()) for gradient in whole.values())
    assert scale > 0
    assert whole.keys() == fewer.keys()
    for name in whole:
        torch.testing.assert_close(fewer[name], whole[name], atol=1e-5 * scale, rtol=1e-4)


def test_a_batch_of_dead_rows_keeps_one(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(skip_dead_groups=True)
    batch = live_and_dead_batch(trainer)
    batch["advantages"] = torch.zeros_like(batch["advantages"][:, 0])
    assert all(not gradient.any() for gradient in gradients(trainer, batch).values())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss_type": "grpo"}, "loss_type='grpo'"),
        ({"beta": 0.1}, "reference model"),
        ({"entropy_coef": 0.1}, "entropy"),
        ({"top_entropy_quantile": 0.5}, "ranks"),
    ],
)
def test_settings_that_give_dead_rows_a_gradient_are_refused(
    fields: dict[str, Any], words: str, make_trainer: MakeTrainer
) -> None:
    with pytest.raises(ValueError, match=words):
        make_trainer(skip_dead_groups=True, **fields)
