"""A trainer of the small text model, rewarded by the place of a rollout: a step of it takes milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from cepo import CEPOConfig, CEPOTrainer
from tests.gpu import ON_GPU

__all__ = ["SETTINGS", "build", "every_other", "problems"]

SETTINGS: dict[str, Any] = {
    "use_cpu": not ON_GPU, "report_to": [], "bf16": False, "seed": 3, "max_steps": 3, "save_strategy": "no",
    "logging_steps": 1, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "per_device_train_batch_size": 4,
    "num_generations": 4, "max_completion_length": 6, "gradient_checkpointing": False, "wrong_reward": "every_other",
    "credit_precision": "float32", "trace_groups": 0, "null_control_every": 0,
}  # fmt: skip


def every_other(completions: list[Any], **_: Any) -> list[float]:
    return [float(row % 2) for row in range(len(completions))]


def problems(count: int = 10) -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": f"{i}+{i + 3}=?"}], "answer": str(2 * i + 3), "id": str(i)}
            for i in range(count)
        ]
    )


def build(
    model: Path, folder: Path, kind: type[CEPOTrainer] = CEPOTrainer, lora: bool = False, rewards: Any = None,
    callbacks: Any = None, data: Any = None, tokenizer: Any = None, options: Any = None, **fields: Any,
) -> Any:  # fmt: skip
    """Of the model that `tests.runs.small.write_model` has written; `fields` of the config."""
    torch.manual_seed(0)
    adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False) if lora else None
    return kind(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        rewards or [every_other],
        CEPOConfig(**{"output_dir": str(folder / "run"), **SETTINGS, **fields}),
        train_dataset=problems() if data is None else data,
        processing_class=tokenizer or AutoTokenizer.from_pretrained(model),
        peft_config=adapter,
        callbacks=callbacks,
        **(options or {}),
    )
