"""One training run from a recipe: load, evaluate, train, evaluate, and a folder that tells all of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from cepo.data.datasets import DataSpec, load_data
from cepo.data.rewards import get_reward
from cepo.evaluate import EvalReport, generate_answers, report, save_generations
from cepo.models.embedded import EMBEDDED, resolve
from cepo.models.processor import load_processor
from cepo.runs.callbacks import MetricsFile, Progress
from cepo.runs.folder import check_same_run
from cepo.runs.recipe import RunConfig
from cepo.stats import paired_difference
from cepo.trainer.checks import check_folder, check_vllm
from cepo.trainer.config import CEPOConfig
from cepo.trainer.trainer import CEPOTrainer, last_checkpoint

__all__ = ["load_config_and_processor", "load_model", "run_training"]

DTYPES = ("auto", "float32", "bfloat16", "float16")
_PACKAGES = ("cepo", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "math-verify")


def run_training(run: RunConfig, config: CEPOConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Train as the recipe says and return the summary, which is also written to `summary.json`.

    A run folder that holds a checkpoint of the same run is continued. When training is interrupted or fails
    after its first step, the state is saved before the error goes on.

    Raises:
        ValueError, OSError: whatever is wrong with model, data or folder, before anything is generated.
    """
    folder = config.run_folder
    check_folder(folder)
    check_vllm(config)
    if last_checkpoint(folder):
        check_same_run(folder, resolved_config(run, config))
    rewards = [get_reward(name) for name in run.rewards]
    data = load_data(data_spec(run.data, run.data_split, run.data_limit, run, config.seed))
    held_out = None
    if run.eval_data is not None:
        held_out = load_data(data_spec(run.eval_data, run.eval_split, run.eval_limit, run, seed=0, held_out=True))
    model, processor = load_model(run.model, run.dtype, run.attn_implementation, config.trust_remote_code)
    peft_config = None
    if run.lora_rank is not None:
        peft_config = LoraConfig(r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules="all-linear")
    trainer = CEPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=data,
        processing_class=processor,
        peft_config=peft_config,
        callbacks=[MetricsFile(folder / "metrics.jsonl"), Progress()],
    )
    for theirs in (ProgressCallback, PrinterCallback):  # they print every metric of every step
        trainer.remove_callback(theirs)
    if trainer.accelerator.is_main_process:
        write_provenance(folder, run, config)
    before = _evaluate(trainer, held_out, run, "before", say)
    say(f"training: {config.method}, {len(data)} problems, up to {config.max_steps} steps")
    started = time.time()
    _train(trainer, folder)
    seconds = time.time() - started
    after = _evaluate(trainer, held_out, run, "after", say)
    trainer.save_model(str(folder / "model"))
    summary = summarise_run(trainer, before, after, seconds)
    if trainer.accelerator.is_main_process:
        write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def data_spec(
    path: str, split: str, limit: int | None, run: RunConfig, seed: int, *, held_out: bool = False
) -> DataSpec:
    """What to load; `held_out` takes the recipe's subset and columns of the evaluation's data."""
    subset, name = (run.eval_subset, "eval_columns") if held_out else (run.data_subset, "data_columns")
    if held_out and run.eval_columns is None:
        name = "data_columns"
    given = getattr(run, name)
    try:
        columns = json.loads(given) if given else {}
    except json.JSONDecodeError as error:
        raise ValueError(f'{name} must be JSON such as {{"prompt": "question"}}, got {given!r} ({error})') from None
    return DataSpec(
        path, split=split, subset=subset, limit=limit, seed=seed, columns=columns, drop_invalid=run.drop_invalid
    )


def load_model(name: str, dtype: str, attention: str | None, trust_remote_code: bool) -> tuple[Any, Any]:
    """Model and processor (or tokenizer) of a checkpoint: `tiny`, a folder or a hub id.

    Raises:
        OSError: one sentence on what could not be loaded and how to give a local path.
    """
    path = resolve(name)
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    if path == str(EMBEDDED):
        disable_progress_bar()  # loading and saving 10 MB: nothing to watch
    config, processor = load_config_and_processor(name, trust_remote_code)
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with _named(name):
        model = kind.from_pretrained(
            path, dtype=dtype, attn_implementation=attention, trust_remote_code=trust_remote_code
        )
    return model, processor


def load_config_and_processor(name: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """What a checkpoint says about itself, without its weights. Raises OSError as `load_model` does."""
    path = resolve(name)
    with _named(name):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        return config, load_processor(path, trust_remote_code=trust_remote_code)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """transformers' errors in one sentence that names the checkpoint."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OSError(
            f"cannot load the model {name!r}: {reason}. Give `tiny`, a folder with config.json and safetensors, or a "
            "hub id that this machine can reach."
        ) from error


def _train(trainer: CEPOTrainer, folder: Path) -> None:
    checkpoint = last_checkpoint(folder)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (Exception, KeyboardInterrupt):
        saved = folder / f"checkpoint-{trainer.state.global_step}"
        if trainer.state.global_step > 0 and trainer.accelerator.num_processes == 1 and not saved.exists():
            trainer._save_checkpoint(trainer.model, trial=None)
        raise


def _evaluate(
    trainer: CEPOTrainer, data: Dataset | None, run: RunConfig, when: str, say: Callable[[str], None]
) -> EvalReport | None:
    """Evaluate on the main process; the same sampling seed before and after."""
    if data is None or not trainer.accelerator.is_main_process:
        return None
    say(f"evaluating {when} training: {len(data)} held-out problems x {run.eval_samples}")
    generations = generate_answers(
        trainer.accelerator.unwrap_model(trainer.model),
        cast(Any, trainer.processing_class),
        data,
        samples=run.eval_samples,
        temperature=1.0,
        max_new_tokens=trainer.args.max_completion_length or 256,
        seed=0,
        autocast_bf16=bool(trainer.args.bf16),
    )
    folder = trainer.args.run_folder / "eval"
    folder.mkdir(exist_ok=True)
    save_generations(generations, folder / f"{when}.jsonl")
    return report(generations, run.eval_samples)


def summarise_run(
    trainer: CEPOTrainer, before: EvalReport | None, after: EvalReport | None, seconds: float
) -> dict[str, Any]:
    """Accuracy before and after with the paired difference, and what the credit did."""
    history = trainer.state.log_history
    summary: dict[str, Any] = {
        "method": trainer.args.method,
        "steps": trainer.state.global_step,
        "train_seconds": round(seconds, 1),
        "credit_settings": asdict(trainer.credit) if trainer.method.teachers else None,
        "credit": {
            name: _mean_logged(history, name) for name in _CREDIT_SUMMARY if _mean_logged(history, name) is not None
        },
    }
    if before is not None and after is not None:
        names = sorted(before.per_problem)
        difference = paired_difference(
            [after.per_problem[name] for name in names], [before.per_problem[name] for name in names]
        )
        summary |= {"before": before.to_dict(), "after": after.to_dict(), "difference": difference._asdict()}
    return summary


_CREDIT_SUMMARY = (
    "credit/evidence_abs_mean_pos",
    "credit/evidence_abs_mean_neg",
    "credit/clip_low",
    "credit/clip_high",
    "credit/multiplier_mean",
    "credit/groups_undecided",
    "credit/rows_fallback",
    "credit/rows_nonfinite",
)


def _mean_logged(history: list[dict[str, Any]], name: str) -> float | None:
    values = [entry[name] for entry in history if entry.get(name) is not None]
    return sum(values) / len(values) if values else None


def resolved_config(run: RunConfig, config: CEPOConfig) -> dict[str, Any]:
    """Every field of a run as plain data."""
    resolved = asdict(run) | {name: value for name, value in config.to_dict().items() if value is not None}
    resolved["credit"] = asdict(config.credit)
    return json.loads(json.dumps(resolved, default=str))


def write_provenance(folder: Path, run: RunConfig, config: CEPOConfig) -> None:
    """`config.yaml`: every field as resolved; `versions.json`: packages, Python, machine, git; and the method files."""
    write_atomically(folder / "config.yaml", yaml.safe_dump(resolved_config(run, config), sort_keys=True))
    about = {name: version(name) for name in _PACKAGES}
    about |= {"python": platform.python_version(), "machine": platform.machine(), "git": git_revision()}
    about["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    write_atomically(folder / "versions.json", json.dumps(about, indent=1) + "\n")
    for path in map(Path, run.method_files):
        write_atomically(folder / path.name, path.read_text())


def git_revision() -> str | None:
    """The revision of the source tree, with `+` when it has uncommitted changes; None outside of git."""
    where = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain"],
            cwd=where,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if dirty else "")


def write_atomically(path: Path, text: str) -> None:
    """Whole or not at all, also when the disk fills up."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
