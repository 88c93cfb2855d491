"""A text model of 40 thousand parameters, ten sums and a recipe: a run of a few steps takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.gpu import ON_GPU

__all__ = ["FIELDS", "REWARD", "write_model", "write_problems", "write_recipe"]

FIELDS: dict[str, Any] = {
    "data_split": "train", "dtype": "float32", "bf16": False, "use_cpu": not ON_GPU, "report_to": "none", "seed": 3,
    "max_steps": 4, "save_steps": 1, "save_total_limit": 2, "logging_steps": 1, "learning_rate": 1e-3,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_generations": 4,
    "max_completion_length": 6, "gradient_checkpointing": False, "null_control_every": 2, "eval_split": "train",
    "eval_limit": 2, "lora_alpha": 8, "lr_scheduler_type": "constant", "rewards": ["parity"], "wrong_reward": "parity",
}  # fmt: skip

REWARD = """\
import zlib
from dataclasses import replace

from cepo.credit.rules import get_method, register
from cepo.data.rewards import REWARDS, completion_text


def parity(prompts, completions, **_):
    return [float(zlib.crc32(completion_text(text).encode()) % 2) for text in completions]


REWARDS["parity"] = parity
register(replace(get_method("cepo"), name="cepo-small"))
"""
"""A file of one's own: a reward that a random model earns half of the time, so that something is learnt."""


def write_model(folder: Path, positions: int = 256, experts: int = 0) -> Path:
    """Random weights, the embedded model's tokenizer; with `experts` a mixture of them, as Qwen3-30B-A3B is."""
    tokenizer = load_processor(str(EMBEDDED)).tokenizer  # pyright: ignore[reportAttributeAccessIssue]
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": positions,
        "tie_word_embeddings": True, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    of_experts: dict[str, Any] = {"num_experts": experts, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    if experts:
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **of_experts))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_problems(file: Path, count: int = 10) -> Path:
    rows = [{"problem": f"{index}+{index + 3}=?", "answer": str(2 * index + 3)} for index in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_recipe(folder: Path, **fields: Any) -> Path:
    """A recipe with model and data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model, data = write_model(folder / "model"), write_problems(folder / "sums.jsonl")
    recipe, own = folder / "recipe.yaml", folder / "own.py"
    own.write_text(REWARD)
    values = {"model": str(model), "data": str(data), "method": "cepo", "method_files": [str(own)], **FIELDS, **fields}
    recipe.write_text(yaml.safe_dump(values))
    return recipe
