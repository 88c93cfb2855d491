"""lmms-eval's command line and environment variables for one benchmark of one model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cepo.errors import SettingError
from cepo.lab.suite.tasks import Benchmark, Suite

__all__ = ["GEOMETRY_TASK", "Settings", "child_environment", "lmms_command"]

GEOMETRY_TASK = Path(__file__).parent / "geometry_task"
"""The folder of YAML that lmms-eval reads our own task from."""

_CHECKPOINT_KEY = {"vllm": "model", "vllm_generate": "model", "sglang": "model"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How benchmarks are run: equal for all models of a table.

    Attributes:
        python: of lmms-eval's environment.
        backend: lmms-eval's `--model`, e.g. qwen3_vl or vllm.
        device: cuda or cpu.
        processes: data-parallel processes, started through accelerate.
        limit: rows of each benchmark, from its start; None: all.
        model_args: added to the backend's arguments.
    """

    python: Path
    backend: str = "qwen3_vl"
    device: str = "cuda"
    batch_size: int = 1
    processes: int = 1
    max_new_tokens: int = 32000
    limit: int | None = None
    model_args: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("batch_size", "processes", "max_new_tokens", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name} must be at least 1, got {value}")


def lmms_command(settings: Settings, suite: Suite, benchmark: Benchmark, model: str, out: Path) -> list[str]:
    """The command; its results go below `out`."""
    arguments = {_CHECKPOINT_KEY.get(settings.backend, "pretrained"): model}
    if settings.device == "cpu":
        arguments["device_map"] = "cpu"
    arguments |= dict(suite.model_args) | dict(settings.model_args)
    start = [str(settings.python), "-m", "lmms_eval"]
    if settings.processes > 1:
        launch = ["accelerate.commands.launch", "--num_processes", str(settings.processes)]
        start = [str(settings.python), "-m", *launch, "-m", "lmms_eval"]
    command = [
        *start, "--model", settings.backend,
        "--model_args", ",".join(f"{key}={value}" for key, value in arguments.items()),
        "--tasks", benchmark.task,
        "--batch_size", str(settings.batch_size),
        "--device", settings.device,
        # `max_tokens`, as in the authors' scripts, is not read.
        "--gen_kwargs", f"max_new_tokens={settings.max_new_tokens}",
        # Its default of 4 grades in threads, where math-verify refuses to work and the refusal counts as wrong.
        "--process-docs-parallel", "1",
        "--output_path", str(out), "--log_samples",
    ]  # fmt: skip
    if not benchmark.dataset:
        command += ["--include_path", str(GEOMETRY_TASK)]
    if settings.limit is not None:
        command += ["--limit", str(settings.limit)]
    return command


def child_environment(path: Path | None) -> dict[str, str]:
    """What is laid over our variables: a fixed grader, and `path` first on the child's PYTHONPATH."""
    environment = {"USE_LLM_JUDGE": "False", "PYTHONUNBUFFERED": "1"}
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    return environment
