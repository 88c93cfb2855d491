"""A trainer on the embedded model and a handful of problems, a few seconds a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3VLForConditionalGeneration

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.rewards import accuracy_reward
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor

SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "report_to": [],
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 32,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "save_strategy": "no",
    "bf16": False,
    "gradient_checkpointing": False,
    "seed": 3,
}


@pytest.fixture(scope="session")
def processor() -> Any:
    return load_processor(str(EMBEDDED))


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    families = ["circle_angles", "isosceles", "similar_triangles", "parallel_lines"]
    return [problem_row(problem) for problem in generate("train", 24, seed=5, families=families)]


@pytest.fixture(scope="session")
def dataset(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(rows)


def embedded() -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32, attn_implementation="eager")


MakeTrainer = Callable[..., CEPOTrainer]


@pytest.fixture
def make_trainer(tmp_path: Path, dataset: Dataset, processor: Any) -> MakeTrainer:
    """Build a CEPOTrainer; keyword arguments are config fields, `reward_funcs`, `train_dataset`, `peft_config`."""

    def make(**fields: Any) -> CEPOTrainer:
        options = {name: fields.pop(name) for name in ("peft_config", "callbacks") if name in fields}
        rewards = fields.pop("reward_funcs", [accuracy_reward])
        data = fields.pop("train_dataset", dataset)
        model = fields.pop("model", None) or embedded()
        config = CEPOConfig(**{"output_dir": str(tmp_path / "run"), **SETTINGS, **fields})
        return CEPOTrainer(model, rewards, config, train_dataset=data, processing_class=processor, **options)

    return make


def parameters(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
