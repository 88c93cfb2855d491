"""What will go wrong with a recipe on this machine, before it does: checks with a verdict and a remedy each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from packaging.requirements import Requirement
from transformers import GenerationConfig

from cepo.credit.rules import get_method
from cepo.data.datasets import load_data
from cepo.data.rewards import bind_reward, get_reward
from cepo.errors import CepoError
from cepo.models.embedded import resolve
from cepo.models.loading import load_config_and_processor, load_model
from cepo.runs.doctor_gpu import gpu_settings
from cepo.runs.problems import load_held_out, training_spec
from cepo.runs.recipe import RunConfig
from cepo.scoring import LOGITS_PER_CHUNK
from cepo.trainer.checks import CHECKS, Subject
from cepo.trainer.config import CEPOConfig
from cepo.trainer.finding import Finding
from cepo.trainer.probing import Probing, probe_rows
from cepo.trainer.prompt_host import PromptHost
from cepo.trainer.teacher_view import TeacherViews
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
    yield devices(config)
    yield disk(config.run_folder)
    model_config, processor, finding = _attempt("model", lambda: load_config_and_processor(run.model, False))
    yield finding or Finding("model", "ok", f"{run.model}: {model_config.model_type}, config and processor load")
    if processor is not None:
        yield generation_config(run.model, processor)
    data, _, finding = _attempt("data", lambda: (load_data(training_spec(run, config)), None))
    yield finding or Finding("data", "ok", f"{run.data}: {len(data)} rows")
    if data is not None and processor is not None and model_config is not None:
        subject = _subject(run, config, data, processor, model_config)
        found = list(checked(subject, data))
        yield from found
        if found[-1].name == LAST_CHECK:
            yield from _measured(subject, data, getattr(processor, "image_token_id", None))
            if load:
                yield probed(run, config, data)
    if model_config is not None:
        yield memory(model_config, run, config)
    yield from gpu_settings(run, config, run.eval_limit or _held_out_rows(run, config))
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


def devices(config: CEPOConfig) -> Finding:
    """GPUs, or what a CPU means."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("devices", "ok", f"{len(names)} x {names[0]}")
    slow = config.bf16 and not torch.cpu._is_avx512_bf16_supported()
    if slow:
        return Finding("devices", "warn", "no GPU; this CPU has no bf16 instructions", "set bf16: false (50x faster)")
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


def _measured(subject: Subject, data: Dataset, image_token_id: int | None) -> Iterator[Finding]:
    """What the prompts come to, once they can be made."""
    if image_token_id is not None:
        yield image_tokens(subject, data, image_token_id)
    if (finding := vllm_lengths(subject, data)) is not None:
        yield finding


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
    longest = max(len(subject.prompt_ids(row)) for row in _first_rows(data))
    if room is None or longest + (config.max_completion_length or 0) <= room:
        return None
    seen = f"prompt {longest} + completion {config.max_completion_length} of vllm_max_model_length {room}"
    return Finding("vllm lengths", "fail", seen, "raise vllm_max_model_length or lower max_completion_length")


def checked(subject: Subject, data: Dataset) -> Iterator[Finding]:
    """The checks that the trainer itself will make, on all of the data."""
    for name, check in CHECKS.items():
        try:
            yield Finding(name, "ok", check(subject, data))
        except CepoError as error:
            yield Finding(name, "fail", _one_line(error), "training would refuse with this sentence")
            if name == "images":  # what comes after makes the prompts, and these cannot be made
                return


def memory(model_config: Any, run: RunConfig, config: CEPOConfig) -> Finding:
    """Arithmetic, one GPU without sharding: weights, gradients and optimizer, KV cache of a rollout batch, logits."""
    text = model_config.get_text_config()
    count = _parameters(model_config)
    weight = 4 if run.dtype == "float32" else 2
    trained = _lora_parameters(text, run.lora_rank) if run.lora_rank else count
    state = trained * (weight + 8)
    rows = config.per_device_train_batch_size * (config.steps_per_generation or 1)
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kv_token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * weight
    kv = rows * (512 + (config.max_completion_length or 0)) * kv_token
    logits = 3 * 4 * LOGITS_PER_CHUNK
    parts = {"weights": count * weight, "gradients and AdamW": state, "KV cache": kv, "logits chunk": logits}
    total = sum(parts.values())
    seen = f"{total / GIB:.1f} GiB ({', '.join(f'{name} {size / GIB:.1f}' for name, size in parts.items())})"
    have = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    if have is not None and total > 0.9 * have:
        return Finding(
            "memory", "fail", f"{seen} of {have / GIB:.0f}", "use LoRA, fewer rollouts at once, or zero3/fsdp2"
        )
    return Finding("memory", "ok", f"about {seen}, activations not counted; time {_time(count, rows, config)}")


def _time(parameters: int, rows: int, config: CEPOConfig) -> str:
    """Arithmetic of a step: 2 FLOP per parameter and token forward, 6 for an update, both teachers at half the rows."""
    tokens = rows * (512 + (config.max_completion_length or 0))
    flop = parameters * tokens * (2 + 6 + 2 * 0.5 * 2)
    return f"about {flop / 4e14:.0f} s a step at 400 TFLOP/s (GPU), {flop / 1e11:.0f} s at 0.1 (two cores)"


def _parameters(model_config: Any) -> int:
    """Parameters of the architecture, counted without allocating it."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if hasattr(model_config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.from_config(model_config).parameters())


def _lora_parameters(text: Any, rank: int) -> int:
    """Adapters on every linear layer of the transformer: rank x (inputs + outputs) each."""
    width, inner = text.hidden_size, text.intermediate_size
    return text.num_hidden_layers * rank * (4 * 2 * width + 3 * (width + inner))


def probed(run: RunConfig, config: CEPOConfig, data: Dataset) -> Finding:
    """The probe of a run, on its model as it is loaded: without adapters and shards."""
    try:
        model, processor = load_model(run.model, run.dtype, run.attn_implementation, config.trust_remote_code)
        model = model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")  # pyright: ignore[reportArgumentType]
        host = PromptHost(processor, cast(dict[str, Any], config.chat_template_kwargs or {}))
        token = getattr(processor, "image_token_id", None)
        views = _views(host, config)
        rows = probe_rows(data, host.encoded, host.tokenizer, token, views)
        found = Probing(None, config.temperature, config.credit.credit_precision, token)(model, rows)
    except CepoError as error:
        return Finding("probe", "fail", _one_line(error), "training would refuse with this sentence")
    seen = f"scored log-probs are the model's own within {found.difference:.0e} nats"
    if found.why_whole:
        return Finding(
            "probe", "warn", f"{seen}, rows encoded whole: {found.why_whole}", "nothing: scoring takes longer"
        )
    return Finding("probe", "ok", seen)


def _views(host: PromptHost, config: CEPOConfig) -> TeacherViews:
    token = getattr(host.processor, "image_token", None)
    return TeacherViews.of(host.processor, host.options, config.teacher_template, token)


def _held_out_rows(run: RunConfig, config: CEPOConfig) -> int:
    held_out, _, _ = _attempt("eval data", lambda: (load_held_out(run, config), None))
    return len(held_out or ())


def _attempt(name: str, load: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any, Finding | None]:
    try:
        first, second = load()
    except (OSError, ValueError) as error:
        return None, None, Finding(name, "fail", _one_line(error), "give a local path, or make the hub reachable")
    return first, second, None


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))


def _subject(run: RunConfig, config: CEPOConfig, data: Dataset, processor: Any, model_config: Any) -> Subject:
    """The run as the trainer's checks want it, without the model's weights."""
    host = PromptHost(processor, cast(dict[str, Any], config.chat_template_kwargs or {}))
    views = _views(host, config)
    return Subject(
        config=config,
        method=get_method(config.method),
        dataset=data,
        prompts=config.credit.teacher_prompts(host.tokenizer, views.host.render),
        prompt_ids=host.prompt_ids,
        views=views,
        positions=model_config.get_text_config().max_position_embeddings,
        image_token=getattr(processor, "image_token", None),
        reward_funcs=[bind_reward(get_reward(name), config.grading) for name in run.rewards],
        reward_names=list(run.rewards),
    )
