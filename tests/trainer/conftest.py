"""A trainer on the embedded model and a handful of problems, a few seconds a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3ForCausalLM, Qwen3VLForConditionalGeneration

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.datasets import DataSpec, load_data
from cepo.data.rewards import accuracy_reward
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED, EMBEDDED_TEXT
from cepo.models.processor import load_processor
from tests import trl_kernels
from tests.gpu import ON_GPU

trl_kernels.install()
if ON_GPU:  # what is compared with a plain forward is to have its products
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # pyright: ignore[reportAttributeAccessIssue]

SETTINGS: dict[str, Any] = {
    "use_cpu": not ON_GPU,
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
    **({"credit_precision": "float32"} if ON_GPU else {}),
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


OPTIONS = ("eval_dataset", "callbacks", "peft_config")
TEXT_SETTINGS: dict[str, Any] = SETTINGS | {"max_steps": 1, "null_control_every": 0, "seed": 5}


@pytest.fixture(scope="session")
def text_rows() -> list[dict[str, Any]]:
    return load_data(DataSpec("chain", split="train", limit=16)).to_list()


@pytest.fixture
def make_text_trainer(tmp_path: Path, text_rows: list[dict[str, Any]]) -> MakeTrainer:
    """As `make_trainer`, of the small text model on chains: a step takes a fraction of a second."""

    def make(*positional: Any, **fields: Any) -> CEPOTrainer:
        model = fields.pop("model", None) or text_model()
        rewards = fields.pop("reward_funcs", [accuracy_reward])
        options: dict[str, Any] = {name: fields.pop(name) for name in OPTIONS if name in fields}
        if not positional:
            options["train_dataset"] = fields.pop("train_dataset", None) or Dataset.from_list(text_rows)
        config = CEPOConfig(**{"output_dir": str(tmp_path / "run"), **TEXT_SETTINGS, **fields})
        tokenizer = load_processor(str(EMBEDDED_TEXT))
        return CEPOTrainer(model, rewards, config, *positional, processing_class=tokenizer, **options)

    return make


def text_model() -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM.from_pretrained(EMBEDDED_TEXT, dtype=torch.float32)


def parameters(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
