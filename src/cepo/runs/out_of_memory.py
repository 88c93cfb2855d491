"""Out of memory: which setting to change, by what the run was doing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sizes", "advice", "is_out_of_memory"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The settings that memory follows."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    steps_per_generation: int
    max_completion_length: int
    score_tokens_per_forward: int


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, CUDA's and the CPU's; torch is not imported to ask."""
    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or allocator


def advice(phase: str | None, sizes: Sizes | None = None) -> str:
    """What to change. `phase`: generation, credit or update; where it is not known all are named."""
    if sizes is None:
        return "lower per_device_train_batch_size, max_completion_length or score_tokens_per_forward"
    said = {
        "generation": f"all rollouts of a generation ({sizes.per_device_train_batch_size} rows x steps_per_generation="
        f"{sizes.steps_per_generation} on each process, {sizes.max_completion_length} tokens each) are made at once: "
        "lower steps_per_generation or max_completion_length (another run, in another --output_dir), or use vLLM",
        "credit": "the teachers' forwards do not fit: run the same command with --score_tokens_per_forward "
        f"{max(1, sizes.score_tokens_per_forward // 2)}, which changes nothing but memory and speed",
        "update": _halved(sizes),
    }
    return said[phase] if phase in said else advice(None)


def _halved(sizes: Sizes) -> str:
    rows, times = sizes.per_device_train_batch_size, sizes.gradient_accumulation_steps
    if rows == 1:
        return "one row does not fit the update: lower max_completion_length, or set gradient_checkpointing: true"
    smaller = next(size for size in range(rows // 2, 0, -1) if rows % size == 0)
    window = ""
    if sizes.steps_per_generation != times:
        window = f" --steps_per_generation {sizes.steps_per_generation * rows // smaller}"
    return (
        f"the micro-batch does not fit the update: run the same command with --per_device_train_batch_size {smaller} "
        f"--gradient_accumulation_steps {times * rows // smaller}{window}, which is the same run up to rounding"
    )
