"""What will go wrong with a recipe on this machine, before it does: checks with a verdict and a remedy each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from packaging.requirements import Requirement
from transformers import GenerationConfig

from cepo.data.datasets import load_data
from cepo.errors import CepoError
from cepo.models.embedded import SHIPPED, resolve
from cepo.models.loading import load_config_and_processor
from cepo.models.packed import FOUR_BITS_NEED
from cepo.runs.doctor_cost import memory_finding, parameters_of
from cepo.runs.doctor_gpu import gpu_settings
from cepo.runs.policy import load_policy
from cepo.runs.problems import load_held_out, training_spec
from cepo.runs.recipe import RunConfig
from cepo.runs.subject import subject_of, views_of
from cepo.trainer.checks import CHECKS
from cepo.trainer.config import CEPOConfig
from cepo.trainer.finding import Finding
from cepo.trainer.fitting import check_held_out
from cepo.trainer.image_checks import check_other_layout
from cepo.trainer.lengths import prompt_lengths
from cepo.trainer.probing import Probing, probe_rows
from cepo.trainer.prompt_host import PromptHost
from cepo.trainer.subject import Subject
from cepo.trainer.vllm import vllm_package, vllm_server

__all__ = ["Finding", "diagnose"]

GIB = 2**30
ROWS = 8
LAST_CHECK = [*CHECKS][-1]


def diagnose(run: RunConfig, config: CEPOConfig, load: bool = False) -> Iterator[Finding]:
    """All checks, in the order in which a run would meet them; a check that cannot be made says why.

    `load`: load the model's weights too, and make the probe that a run makes at its start.
    """
    yield from versions()
    yield devices(run, config)
    yield disk(config.run_folder)
    model_config, processor, finding = _attempt("model", lambda: load_config_and_processor(run.model, False))
    yield finding or Finding("model", "ok", f"{run.model}: {model_config.model_type}, config and processor load")
    if processor is not None:
        yield generation_config(run.model, processor)
    data, _, finding = _attempt("data", lambda: (load_data(training_spec(run, config)), None))
    yield finding or Finding("data", "ok", f"{run.data}: {len(data)} rows")
    held_out, _, _ = _attempt("eval data", lambda: (load_held_out(run, config), None))
    if data is not None and processor is not None and model_config is not None:
        subject = subject_of(run, config, data, processor, model_config)
        found = list(checked(subject, data))
        yield from found
        if found[-1].name == LAST_CHECK:
            yield from _measured(subject, data, held_out, processor)
            if load:
                yield probed(run, config, data)
    if model_config is not None:
        yield memory_finding(model_config, run, config)
        yield weights(model_config, run, config)
    yield from gpu_settings(run, config, run.eval_limit or len(held_out or ()))
    if config.use_vllm:
        yield vllm_package()
    if config.use_vllm and config.vllm_mode == "server":
        yield vllm_server(run.model, config)


def versions() -> Iterator[Finding]:
    """Installed packages against the ranges that cepo asks for."""
    for line in requires("cepo") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            yield Finding(wanted.name, "fail", "not installed", f"pip install '{wanted.name}{wanted.specifier}'")
            continue
        if not wanted.specifier.contains(have, prereleases=True):
            remedy = f"pip install '{wanted.name}{wanted.specifier}'"
            yield Finding(wanted.name, "fail", f"{have}, cepo needs {wanted.specifier}", remedy)
    yield Finding("versions", "ok", ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl")))


def devices(run: RunConfig, config: CEPOConfig) -> Finding:
    """GPUs, or what a CPU means."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("devices", "ok", f"{len(names)} x {names[0]}")
    slow = config.bf16 and not torch.cpu._is_avx512_bf16_supported()
    if slow:
        return Finding("devices", "warn", "no GPU; this CPU has no bf16 instructions", "set bf16: false (50x faster)")
    if run.model in SHIPPED:
        return Finding("devices", "ok", f"no GPU, and {run.model} needs none")
    return Finding("devices", "warn", "no GPU", "the tiny recipes are meant for a CPU; for others use a GPU machine")


def disk(folder: Path) -> Finding:
    """Free space where the run folder will lie."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / GIB
    remedy = "free some space or choose another --output_dir"
    return Finding(
        "disk", "ok" if free > 20 else "warn", f"{free:.0f} GiB free at {there}", "" if free > 20 else remedy
    )


def generation_config(model: str, processor: Any) -> Finding:
    """Whether the model's generation config can be written: transformers refuses one that it has to change."""
    tokenizer = getattr(processor, "tokenizer", processor)
    try:
        config = GenerationConfig.from_pretrained(resolve(model))
    except OSError:
        return Finding("generation config", "ok", "the model has none of its own")
    try:
        config.validate(strict=True)
    except ValueError as error:
        names = ("eos_token_id", "bos_token_id", "pad_token_id")
        ids = {name: getattr(tokenizer, name, None) for name in names}
        changed = [name for name in names if ids[name] is not None and ids[name] != getattr(config, name)]
        remedy = "edit generation_config.json: sampling settings do not go with do_sample: false"
        return Finding("generation config", "fail" if changed else "warn", _one_line(error), remedy)
    return Finding("generation config", "ok", "can be written")


def _first_rows(data: Dataset) -> list[dict[str, Any]]:
    return [data[index] for index in range(min(ROWS, len(data)))]


def _measured(subject: Subject, data: Dataset, held_out: Dataset | None, processor: Any) -> Iterator[Finding]:
    """What the prompts come to, once they can be made."""
    yield vocabulary(subject, data, getattr(processor, "tokenizer", processor))
    if held_out is not None:
        yield _told_alike("eval lengths", lambda: check_held_out(subject, held_out) or "every problem fits")
    image_token_id = getattr(processor, "image_token_id", None)
    if image_token_id is not None:
        yield image_tokens(subject, data, image_token_id)
    if (finding := vllm_lengths(subject, data)) is not None:
        yield finding


def vocabulary(subject: Subject, data: Dataset, tokenizer: Any) -> Finding:
    """Whether the model has tokens for what a few rows ask: a small vocabulary reads other words as unknown."""
    ids = [index for row in _first_rows(data) for index in subject.prompt_ids(row)]
    unknown = ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
    if not unknown:
        return Finding("vocabulary", "ok", "the model has tokens for all that the first rows ask")
    seen = f"{unknown} of the first rows' {len(ids)} prompt tokens are unknown to the model ({tokenizer.unk_token})"
    remedy = "it cannot read these problems: take a model with a whole vocabulary"
    return Finding("vocabulary", "warn", seen, f"{remedy}; tiny-text knows the words of data: chain alone")


def image_tokens(subject: Subject, data: Dataset, image_token_id: int) -> Finding:
    """Image tokens of a few rows."""
    counts = [list(subject.prompt_ids(row)).count(image_token_id) for row in _first_rows(data)]
    seen = f"{min(counts)} to {max(counts)} image tokens a row"
    remedy = "pin the pixel range (longest_edge) in the processor: very large images dominate a step"
    large = max(counts) > 2048
    return Finding("image tokens", "warn" if large else "ok", seen, remedy if large else "")


def vllm_lengths(subject: Subject, data: Dataset) -> Finding | None:
    """vLLM's own bound on prompt and completion, where it lives in this process."""
    config = subject.config
    room = config.vllm_max_model_length if config.use_vllm and config.vllm_mode == "colocate" else None
    if room is None:
        return None
    longest = max(prompt_lengths(subject, data))
    if longest + (config.max_completion_length or 0) <= room:
        return None
    seen = f"prompt {longest} + completion {config.max_completion_length} of vllm_max_model_length {room}"
    return Finding("vllm lengths", "fail", seen, "raise vllm_max_model_length or lower max_completion_length")


def checked(subject: Subject, data: Dataset) -> Iterator[Finding]:
    """The checks that the trainer itself will make, on all of the data."""
    for name, check in CHECKS.items():
        found = _told_alike(name, partial(check, subject, data))
        yield found
        if found.verdict == "fail" and name == "images":  # what comes after makes prompts, which cannot be made
            return


def _told_alike(name: str, check: Callable[[], str]) -> Finding:
    """What a check of the trainer's says, as the trainer says it."""
    try:
        return Finding(name, "ok", check())
    except CepoError as error:
        return Finding(name, "fail", _one_line(error), "training would refuse with this sentence")


def weights(model_config: Any, run: RunConfig, config: CEPOConfig) -> Finding:
    """Whether the dtype of trained weights can hold an update, and what float32 costs."""
    if run.load_in_4bit and find_spec("bitsandbytes") is None:
        return Finding("weights", "fail", "load_in_4bit: true, but bitsandbytes is not installed", FOUR_BITS_NEED)
    if run.lora_rank is not None:
        kept = "4 bits" if run.load_in_4bit else run.weights_dtype
        return Finding("weights", "ok", f"{kept}, LoRA of rank {run.lora_rank} is trained")
    trained = "all but the vision tower's" if run.freeze_vision else "all"
    cost = f"{2 * 4 * parameters_of(model_config) / GIB:.1f} GiB more than in bfloat16, with AdamW's and the gradient"
    if run.weights_dtype == "float32":
        return Finding("weights", "ok", f"{trained} are trained, in float32 ({cost})")
    seen = (
        f"{trained} are trained, in {run.weights_dtype}: updates below 1/512 of a weight are rounded away, at "
        f"learning_rate={config.learning_rate:g} most of them"
    )
    return Finding("weights", "warn", seen, f"dtype: float32 ({cost}), or LoRA (lora_rank)")


def probed(run: RunConfig, config: CEPOConfig, data: Dataset) -> Finding:
    """The probe of a run, on its model as it is loaded: without adapters and shards."""
    try:
        model, processor = load_policy(run, config)
        model = model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")  # pyright: ignore[reportArgumentType]
        host = PromptHost(processor, cast(dict[str, Any], config.chat_template_kwargs or {}))
        token = getattr(model.config, "image_token_id", None)
        rows = probe_rows(data, host.encoded, host.tokenizer, token, views_of(host, config))
        check_other_layout(rows, data, False, host.made_together)
        completion = config.max_completion_length or 0
        probing = Probing(None, config.temperature, config.credit.credit_precision, token, completion)
        half = torch.float16 if config.fp16 else torch.bfloat16
        with torch.autocast(model.device.type, half, enabled=bool(config.fp16 or config.bf16)):  # as a run's forwards
            found = probing(model, rows)
    except CepoError as error:
        return Finding("probe", "fail", _one_line(error), "training would refuse with this sentence")
    seen = f"scored log-probs are the model's own within {found.difference:.0e} nats"
    if found.why_whole:
        return Finding(
            "probe", "warn", f"{seen}, rows encoded whole: {found.why_whole}", "nothing: scoring takes longer"
        )
    return Finding("probe", "ok", seen)


def _attempt(name: str, load: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any, Finding | None]:
    try:
        first, second = load()
    except (OSError, ValueError) as error:
        return None, None, Finding(name, "fail", _one_line(error), "give a local path, or make the hub reachable")
    return first, second, None


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))
