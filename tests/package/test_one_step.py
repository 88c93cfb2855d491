"""The reading copy of the method equals the trainer: the same advantages, and the same parameters after a step."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.rewards import accuracy_reward
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.trainer.conftest import SETTINGS, embedded, parameters

SPEC = importlib.util.spec_from_file_location("one_step", Path(__file__).parents[2] / "examples" / "one_step.py")
assert SPEC is not None
assert SPEC.loader is not None
one_step: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(one_step)


def test_one_step_equals_the_trainer(tmp_path: Path) -> None:
    families = ["circle_angles", "isosceles", "similar_triangles"]
    rows = [problem_row(problem) for problem in generate("train", 3, seed=5, families=families)]
    processor: Any = load_processor(str(EMBEDDED))
    config = CEPOConfig(
        **SETTINGS
        | {"output_dir": str(tmp_path), "max_steps": 1, "per_device_train_batch_size": 12, "seed": 0}
        | {"epsilon_high": 0.28, "shuffle_dataset": False, "weight_decay": 0.0, "max_completion_length": 48}
    )
    trainer = CEPOTrainer(
        embedded(), [accuracy_reward], config, train_dataset=Dataset.from_list(rows), processing_class=processor
    )
    seen: dict[str, Any] = {}
    generated = trainer._generate_and_score_completions

    def keep(inputs: Any) -> Any:
        seen.update(batch=generated(inputs), ids=[row["id"] for row in inputs])
        return dict(seen["batch"])

    trainer._generate_and_score_completions = keep
    trainer.train()
    batch = seen["batch"]
    assert seen["ids"] == [row["id"] for row in rows for _ in range(4)]
    completions = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    model = embedded()
    advantage_BT = one_step.assign(model, processor, rows, completions)
    assert batch["advantages"].shape == advantage_BT.shape, "no credit was given: a vacuous comparison"
    mask = batch["completion_mask"].bool()
    assert advantage_BT[mask].std() > 0
    torch.testing.assert_close(batch["advantages"][mask], advantage_BT[mask], atol=1e-4, rtol=1e-4)

    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    one_step.update(model, processor, optimizer, rows, completions, advantage_BT)
    after = parameters(trainer)
    start = dict(embedded().named_parameters())
    for name, parameter in model.named_parameters():
        moved = (after[name] - start[name]).abs().mean()
        error = (after[name] - parameter).abs().mean()
        assert error <= 0.02 * moved + 1e-9, name
