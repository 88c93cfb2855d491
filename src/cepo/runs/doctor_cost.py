"""What a recipe takes on this machine: the memory of its hungriest phase, and the time of a step."""

from __future__ import annotations

from typing import Any

import torch

from cepo.models.packed import BYTES_OF_PACKED
from cepo.runs.memory import GIB, Load, Memory, ModelShape, peak_memory, shape_of
from cepo.runs.recipe import RunConfig
from cepo.runs.step_time import H100, Work, step_time
from cepo.scoring import LOGITS_PER_CHUNK, LOGITS_PER_CHUNK_CPU
from cepo.trainer.config import CEPOConfig
from cepo.trainer.finding import Finding

__all__ = ["load_of", "memory_finding", "parameters_of"]

PROMPT = 512
"""Tokens of a prompt with its image, where nothing is known of it."""

FLOPS_CPU = 1e11
"""Of two cores."""


def memory_finding(model_config: Any, run: RunConfig, config: CEPOConfig) -> Finding:
    """Arithmetic, one GPU without sharding."""
    shape, load = shape_of(model_config, parameters_of(model_config)), load_of(run, config)
    memory = peak_memory(shape, load)
    seen = f"{memory.peak / GIB:.1f} GiB, most while in {memory.peak_phase} ({_parts(memory)})"
    have = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    if have is not None and memory.peak > 0.9 * have:
        remedy = _REMEDIES[memory.peak_phase] + ", LoRA, or zero3/fsdp2"
        return Finding("memory", "fail", f"{seen} of {have / GIB:.0f}", remedy)
    return Finding("memory", "ok", f"about {seen}; time {_time(shape, load, config)}")


_REMEDIES = {
    "generation": "use fewer rollouts at once (steps_per_generation), shorter completions",
    "scoring": "lower score_tokens_per_forward",
    "update": "use a smaller micro-batch (per_device_train_batch_size), gradient_checkpointing: true",
}


def load_of(run: RunConfig, config: CEPOConfig) -> Load:
    """What the recipe puts on one process."""
    on_gpu = torch.cuda.is_available()
    return Load(
        rows=config.per_device_train_batch_size * (config.steps_per_generation or 1),
        micro_rows=config.per_device_train_batch_size,
        prompt=PROMPT,
        completion=config.max_completion_length or 256,
        weight_bytes=4 if run.weights_dtype == "float32" else 2,
        lora_rank=run.lora_rank,
        packed_bytes=BYTES_OF_PACKED if run.load_in_4bit else None,
        keeps_copy=config.credit.teacher().keeps_copy,
        tokens_per_forward=config.score_tokens_per_forward if config.method != "grpo" else 0,
        has_checkpoints=bool(config.gradient_checkpointing),
        logits_per_chunk=LOGITS_PER_CHUNK if on_gpu else LOGITS_PER_CHUNK_CPU,
        has_kernels=on_gpu,
    )


def _parts(memory: Memory) -> str:
    parts = {**memory.stays, **memory.phases}
    return ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size)


def _time(shape: ModelShape, load: Load, config: CEPOConfig) -> str:
    """Of a step with the longest completions, on an H100 and on two cores of a CPU."""
    groups = max(1, load.rows // config.group_size)
    work = Work(
        groups, config.group_size, load.prompt, mean=load.completion, longest=load.completion,
        contexts=2 if load.tokens_per_forward else 0,
    )  # fmt: skip
    time = step_time(shape, work, H100, has_checkpoints=load.has_checkpoints, use_vllm=bool(config.use_vllm))
    flops = H100.rate("tf32") * time.credit + H100.rate("bf16") * time.update
    flops += 2.0 * shape.parameters * load.rows * load.length
    return f"about {_seconds(time.total)} a step on an H100, {_seconds(flops / FLOPS_CPU)} on two cores"


def _seconds(value: float) -> str:
    """0.4 s, not 0 s."""
    return f"{value:.1f} s" if value < 9.5 else f"{value:.0f} s"


def parameters_of(model_config: Any) -> int:
    """Parameters of the architecture, counted without allocating it."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if hasattr(model_config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.from_config(model_config).parameters())
