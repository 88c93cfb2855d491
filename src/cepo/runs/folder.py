"""Whether the checkpoints of a run folder are this run's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainingArguments

from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig

__all__ = ["check_same_run"]

SHOWN = 5

_FREE_PREFIXES = ("eval_", "log_", "vllm_", "trace_", "score_", "null_control_", "reward_timeout")
"""Fields of ours and of TRL's that leave what is trained as it is, or are the machine's."""

_SCHEDULE = {
    "seed", "optim", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "bf16",
    "per_device_train_batch_size", "gradient_accumulation_steps",
}  # fmt: skip
"""What of transformers' own fields decides what is trained. `max_steps` is free: a run may be made longer."""


def check_same_run(folder: Path, resolved: Mapping[str, Any]) -> None:
    """A folder whose checkpoints would be resumed was written by a run with the same settings.

    `resolved` is what goes to `config.yaml`. A folder without one holds no run.

    Raises:
        ValueError: it was not. Resuming would train the wrong model on, or report one run as another.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return
    before: dict[str, Any] = yaml.safe_load(file.read_text())
    other = [name for name in sorted(_decisive()) if before.get(name) != resolved.get(name)]
    if other:
        shown = ", ".join(f"{name}={before.get(name)!r} (now {resolved.get(name)!r})" for name in other[:SHOWN])
        raise ValueError(
            f"{folder} holds checkpoints of a run with other settings: {shown}; choose another --output_dir, or remove "
            "that folder to start anew"
        )


def _decisive() -> set[str]:
    """Fields that decide what is trained."""
    theirs = {entry.name for entry in fields(TrainingArguments)}
    ours = {entry.name for kind in (RunConfig, CEPOConfig) for entry in fields(kind)} - theirs
    return {name for name in ours if not name.startswith(_FREE_PREFIXES)} | _SCHEDULE
