"""Dynamic sampling: dead groups give way to live ones, whole rows at a time, and the budget is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from cepo.data.scores import TokenReward
from cepo.trainer import resample
from cepo.trainer.batch import Batch
from cepo.trainer.checks import check_resampling
from cepo.trainer.resample import Graded, dead_groups, fresh_problems
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


def test_what_was_graded_goes_with_its_row() -> None:
    old_score, new_score = TokenReward(1.0, tokens=[1.0]), TokenReward(0.0, tokens=[2.0])
    old = Graded(torch.tensor([[1.0], [2.0], [3.0]]), ["a", "b", "c"], {0: [("f", old_score)], 1: [("f", old_score)]})
    fresh = Graded(torch.tensor([[7.0], [8.0]]), ["y", "z"], {1: [("f", new_score)]})
    merged = old.replacing({1: 0, 2: 1}, fresh)
    assert merged.rewards.tolist() == [[1.0], [7.0], [8.0]]
    assert old.rewards.tolist() == [[1.0], [2.0], [3.0]]
    assert merged.completions == ["a", "y", "z"]
    assert merged.scores == {0: [("f", old_score)], 2: [("f", new_score)]}, "row 1's fresh rollout has no scores"
    assert merged.scores[2][0][1] is new_score


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
    generated, replaced = (
        resampled._metrics["train"][f"resample/{name}"] for name in ("rows_generated", "groups_replaced")
    )
    assert generated
    assert sum(replaced) > 0


@pytest.mark.parametrize("first", ["with", "without"])
def test_problems_with_images_replace_problems_without(
    first: str, make_trainer: MakeTrainer, rows: list[dict[str, Any]]
) -> None:
    """Of a batch in which no row has an image TRL leaves out what goes with images; the merged batch is whole.

    Every row's log-probs in the merged batch are those that it has among rows of its own kind.
    """
    bare = [row | {"images": []} for row in rows]
    data = [*bare[:2], *rows[2:]] if first == "without" else [*rows[:2], *bare[2:]]
    calls: list[int] = []

    def turns(completions: Any, **_: Any) -> list[float]:
        """At first all are equal; of the fresh problems the second alone is live."""
        calls.append(len(completions))
        return [float(len(calls) > 1 and index >= 4 and index % 2) for index in range(len(completions))]

    trainer: Any = make_trainer(
        method="grpo", resample_dead_groups=1, train_dataset=Dataset.from_list(data), shuffle_dataset=False,
        reward_funcs=[turns], wrong_reward="turns",
    )  # fmt: skip
    made: list[Batch] = []
    kept = resample.replaced

    def keeping(old: Batch, taken: Any, fresh: Batch, pad_id: int) -> Batch:
        made.extend([old, fresh, kept(old, taken, fresh, pad_id)])
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "replaced", keeping)
        calls.clear()
        trainer.model.train()
        trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    old, fresh, merged = made
    with_images = [image is not None for image in merged.images()]
    assert with_images == [first == "without"] * 4 + [first == "with"] * 4, (
        "the first group was replaced by the other kind"
    )
    logps = logps_of(trainer, merged)
    for part, rows_of_part, place in ((fresh, range(4, 8), 0), (old, range(4, 8), 4)):
        own = logps_of(trainer, part.taking(list(rows_of_part)))
        width = min(own.shape[1], logps.shape[1])
        mask_BT = part.loss_mask[4:8, :width].bool()
        torch.testing.assert_close(
            logps[place : place + 4, :width][mask_BT], own[:, :width][mask_BT], atol=1e-4, rtol=1e-4
        )


def logps_of(trainer: Any, batch: Batch) -> torch.Tensor:
    """As TRL's loss computes them."""
    ids, mask = batch.sequences
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    given = {name: batch.raw[name] for name in names if name in batch.raw}
    with torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch.width, **given)[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale_rewards": "batch"}, "scale_rewards"),
        ({"log_completions": True}, "log_completions"),
    ],
)
def test_what_cannot_be_mixed_is_refused(fields: dict[str, Any], words: str, make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match=words):
        make_trainer(resample_dead_groups=1, **fields)


def test_half_groups_and_streams_are_refused() -> None:
    config: Any = SimpleNamespace(
        per_device_train_batch_size=6, steps_per_generation=1, group_size=4, resample_dead_groups=1
    )
    with pytest.raises(ValueError, match="= 6 is no multiple of num_generations=4"):
        check_resampling(config, None)
    config = SimpleNamespace(
        per_device_train_batch_size=8,
        steps_per_generation=1,
        group_size=4,
        scale_rewards="group",
        log_completions=False,
        resample_dead_groups=1,
    )
    with pytest.raises(ValueError, match="not a stream"):
        check_resampling(config, iter([]))
