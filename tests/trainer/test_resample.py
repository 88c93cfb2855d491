"""Dynamic sampling: dead groups give way to live ones, whole rows at a time, and the budget is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset

from cepo.trainer.resample import dead_groups, fresh_problems, replace_rows
from tests.trainer.conftest import MakeTrainer


def test_dead_groups() -> None:
    assert dead_groups(torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0]), 2) == [0, 2]


def test_fresh_problems_are_distinct_and_each_process_has_its_own() -> None:
    data = Dataset.from_list([{"id": str(index)} for index in range(10)])
    drawn = [[row["id"] for row in fresh_problems(data, 3, 2, "s", rank, 2)] for rank in (0, 1)]
    assert [len(rows) for rows in drawn] == [6, 6]
    assert len({*drawn[0], *drawn[1]}) == 6
    assert drawn[0][0] == drawn[0][1]
    assert drawn == [[row["id"] for row in fresh_problems(data, 3, 2, "s", rank, 2)] for rank in (0, 1)]


def test_rows_are_replaced_with_their_padding_and_their_images() -> None:
    def batch(value: int, prompt: int, completion: int, patches: list[int]) -> dict[str, Any]:
        return {
            "prompt_ids": torch.full((2, prompt), value),
            "prompt_mask": torch.ones(2, prompt, dtype=torch.long),
            "completion_ids": torch.full((2, completion), value),
            "completion_mask": torch.ones(2, completion, dtype=torch.long),
            "mm_token_type_ids": torch.full((2, prompt + completion), value),
            "advantages": torch.full((2,), float(value)),
            "num_items_in_batch": torch.tensor(2 * completion),
            "num_images": [1, 1],
            "image_grid_thw": torch.tensor([[1, 1, n] for n in patches]),
            "pixel_values": torch.cat([torch.full((n, 3), 10.0 * value + n) for n in patches]),
        }

    merged = replace_rows(batch(1, 2, 3, [1, 2]), batch(2, 3, 2, [3, 4]), {1: 0}, pad_id=9)
    assert merged["prompt_ids"].tolist() == [[9, 1, 1], [2, 2, 2]]
    assert merged["prompt_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert merged["completion_ids"].tolist() == [[1, 1, 1], [2, 2, 9]]
    assert merged["completion_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert merged["mm_token_type_ids"].tolist() == [[0, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 0]]
    assert merged["advantages"].tolist() == [1.0, 2.0]
    assert merged["image_grid_thw"].tolist() == [[1, 1, 1], [1, 1, 3]]
    assert merged["pixel_values"][:, 0].tolist() == [11.0, 23.0, 23.0, 23.0]


def test_it_trains_on_more_live_groups_and_equals_a_forward(make_trainer: MakeTrainer) -> None:
    """The merged batch is whole: TRL's loss on it is that of its rows, and the credit fits its completions."""
    plain, resampled = (
        make_trainer(resample_dead_groups=tries, per_device_train_batch_size=16, max_steps=1) for tries in (0, 3)
    )
    shares = []
    for trainer in (plain, resampled):
        inputs = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        torch.manual_seed(1)
        batch = trainer._generate_and_score_completions(inputs)
        advantage_BT = batch["advantages"].view(16, -1)
        shares.append((advantage_BT != 0).any(dim=1).float().mean().item())
        assert batch["num_items_in_batch"] == batch["completion_mask"].sum()
        trainer.current_gradient_accumulation_steps = 1
        assert torch.isfinite(trainer._compute_loss(trainer.model, batch))
    assert shares[0] < shares[1]
    assert resampled._metrics["train"]["resample/rows_generated"]


def test_batch_wide_scaling_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match="scale_rewards"):
        make_trainer(resample_dead_groups=1, scale_rewards="batch")
