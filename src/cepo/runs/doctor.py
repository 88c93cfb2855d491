"""What will go wrong with a recipe on this machine, before it does: checks with a verdict and a remedy each."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import urlopen

import torch
from packaging.requirements import Requirement
from packaging.version import Version
from trl.scripts.vllm_serve import ScriptArguments, build_command

from cepo.credit.prompts import TeacherPrompts
from cepo.data.datasets import load_data
from cepo.models.embedded import resolve
from cepo.models.loading import load_config_and_processor
from cepo.runs.problems import data_spec
from cepo.runs.recipe import RunConfig
from cepo.scoring import LOGITS_PER_CHUNK
from cepo.trainer.config import CEPOConfig

__all__ = ["Finding", "diagnose"]

Verdict = Literal["ok", "warn", "fail"]
GIB = 2**30
ROWS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, its verdict, what was seen, and what to do about it."""

    name: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def diagnose(run: RunConfig, config: CEPOConfig) -> Iterator[Finding]:
    """All checks, in the order in which a run would meet them; a check that cannot be made says why."""
    yield from versions()
    yield devices(config)
    yield disk(config.run_folder)
    model_config, processor, finding = _attempt("model", lambda: load_config_and_processor(run.model, False))
    yield finding or Finding("model", "ok", f"{run.model}: {model_config.model_type}, config and processor load")
    data, _, finding = _attempt("data", lambda: (load_data(_spec(run, config)), None))
    yield finding or Finding("data", "ok", f"{run.data}: {len(data)} of the first {ROWS} rows are usable")
    if data is not None and processor is not None and model_config is not None:
        yield from lengths(data, processor, model_config, config)
    if model_config is not None:
        yield memory(model_config, run, config)
    if config.use_vllm:
        yield _vllm()
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
    return Finding("devices", "warn", "no GPU", "only recipes/tiny is meant for a CPU; for others use a GPU machine")


def disk(folder: Path) -> Finding:
    """Free space where the run folder will lie."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / GIB
    remedy = "free some space or choose another --output_dir"
    return Finding(
        "disk", "ok" if free > 20 else "warn", f"{free:.0f} GiB free at {there}", "" if free > 20 else remedy
    )


def lengths(data: Any, processor: Any, model_config: Any, config: CEPOConfig) -> Iterator[Finding]:
    """Image tokens of a few rows, and the longest teacher prompt with its completion against the positions."""
    tokenizer = getattr(processor, "tokenizer", processor)
    image_token = getattr(processor, "image_token_id", None)
    limit = model_config.get_text_config().max_position_embeddings
    prompts = TeacherPrompts(tokenizer, str, config.credit.prompt_style)
    counts, longest, own = [], 0, 0
    for row in data:
        ids = _prompt_ids(processor, row)
        counts.append(sum(token == image_token for token in ids))
        own = max(own, len(ids))
        longest = max(longest, len(ids) + len(prompts.reference_ids(str(row[config.answer_column]))))
    if image_token is not None:
        spread = f"{min(counts)} to {max(counts)} image tokens a row"
        remedy = "pin the pixel range (longest_edge) in the processor: very large images dominate a step"
        yield Finding("image tokens", "warn" if max(counts) > 2048 else "ok", spread, remedy * (max(counts) > 2048))
    total = longest + (config.max_completion_length or 0)
    fits = total <= limit
    seen = (
        f"longest teacher prompt {longest} + completion {config.max_completion_length} = {total} of {limit} positions"
    )
    yield Finding("lengths", "ok" if fits else "fail", seen, "" if fits else "lower max_completion_length")
    room = config.vllm_max_model_length if config.use_vllm and config.vllm_mode == "colocate" else None
    if room is not None and own + (config.max_completion_length or 0) > room:
        seen = f"prompt {own} + completion {config.max_completion_length} of vllm_max_model_length {room}"
        yield Finding("vllm lengths", "fail", seen, "raise vllm_max_model_length or lower max_completion_length")


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


def _prompt_ids(processor: Any, row: dict[str, Any]) -> list[int]:
    from trl.data_utils import prepare_multimodal_messages

    messages = row["prompt"]
    if row.get("images"):
        messages = prepare_multimodal_messages(messages, images=row["images"])
    out = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    ids = out["input_ids"]
    return ids[0] if ids and isinstance(ids[0], list) else ids


def _vllm() -> Finding:
    try:
        have = version("vllm")
    except PackageNotFoundError:
        return Finding(
            "vllm", "fail", "use_vllm: true, but vllm is not installed", "pip install 'cepo[vllm]', or use_vllm: false"
        )
    for wanted in map(Requirement, requires("trl") or []):
        # Without its local part: 0.24.0+cu129 is 0.24.0.
        if wanted.name == "vllm" and not wanted.specifier.contains(Version(have).base_version):
            return Finding(
                "vllm", "fail", f"{have}, TRL works with {wanted.specifier}", f"pip install 'vllm{wanted.specifier}'"
            )
    return Finding("vllm", "ok", have)


def vllm_server(model: str, config: CEPOConfig) -> Finding:
    """Whether the server that the trainer will ask answers, and how to start it."""
    url = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
    try:
        with urlopen(f"{url}/health", timeout=3):
            return Finding("vllm server", "ok", f"{url} answers")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        started = f"on its machine: {shlex.join(server_command(model, config))}"
        return Finding("vllm server", "fail", f"{url} does not answer ({reason})", started)


def server_command(model: str, config: CEPOConfig) -> list[str]:
    """The words that start vLLM's server as TRL's client needs it (TRL keeps the list of its flags)."""
    port = urlsplit(config.vllm_server_base_url).port if config.vllm_server_base_url else config.vllm_server_port
    wanted = ScriptArguments(model=resolve(model), port=port or 80, max_model_len=config.vllm_max_model_length)
    words = build_command(wanted)
    return ["env", "VLLM_SERVER_DEV_MODE=1", "vllm", *words[words.index("serve") :]]


def _spec(run: RunConfig, config: CEPOConfig) -> Any:
    return data_spec(run.data, run.data_split, ROWS, run, config.seed)


def _attempt(name: str, load: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any, Finding | None]:
    try:
        first, second = load()
    except (OSError, ValueError) as error:
        message = re.sub(r"\s+", " ", str(error))
        return None, None, Finding(name, "fail", message, "give a local path, or make the hub reachable")
    return first, second, None
