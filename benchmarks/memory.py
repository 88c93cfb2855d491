"""The model of peak memory (`cepo.runs.memory`) against measured peaks of toy models: `python benchmarks/memory.py`.

Each case trains two steps in a process of its own on a CPU and reads, for each phase of the last one, the peak of the
resident set over what it was before the model was made, libraries warmed up by another model. Large tensors are mapped
and given back at once (MALLOC_MMAP_THRESHOLD_), so that the resident set is what is alive.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from provenance import provenance, write_results
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.trainer_callback import PrinterCallback
from trl import GRPOTrainer

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.datasets import DataSpec, load_data
from cepo.models.embedded import EMBEDDED_TEXT
from cepo.models.processor import load_processor
from cepo.runs.memory import Load, peak_memory, shape_of
from cepo.scoring.head import LOGITS_PER_CHUNK_CPU

MIB = 2**20
BASE: dict[str, Any] = {
    "layers": 6, "hidden": 256, "intermediate": 768, "vocabulary": 8192, "rows": 16, "micro_rows": 16, "prompt": 128,
    "completion": 64, "lora_rank": None, "teacher": "live", "tokens_per_forward": 2048, "checkpointing": False,
}  # fmt: skip
WARM_UP: dict[str, Any] = {
    "layers": 1, "hidden": 64, "intermediate": 64, "vocabulary": 128, "rows": 8, "micro_rows": 8, "prompt": 64,
    "completion": 8, "tokens_per_forward": 512,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "base": {},
    "a teacher's copy": {"teacher": "ema", "vocabulary": 24576, "rows": 8, "micro_rows": 2},
    "LoRA": {"lora_rank": 8, "vocabulary": 24576, "rows": 8, "micro_rows": 2},
    "checkpointing": {"checkpointing": True, "rows": 8, "micro_rows": 8, "vocabulary": 1024, "layers": 12},
    "many rollouts": {"rows": 64, "micro_rows": 1, "vocabulary": 1024},
    "long scoring": {
        "tokens_per_forward": 16384,
        "rows": 32,
        "micro_rows": 1,
        "prompt": 384,
        "completion": 32,
        "vocabulary": 1024,
    },
}
PHASES = {"generation": (GRPOTrainer, "_generate"), "scoring": (CEPOTrainer, "_score"),
          "update": (GRPOTrainer, "training_step")}  # fmt: skip


def right_or_wrong(completions: list[Any], **_: Any) -> list[float]:
    """Decided groups, whatever a random model writes."""
    return [float(row % 2) for row in range(len(completions))]


def train(case: dict[str, Any], model: Any, folder: str) -> None:
    tokenizer = load_processor(str(EMBEDDED_TEXT))
    rows = load_data(DataSpec("chain", split="train", limit=16)).to_list()
    filler = "Find the last value. "
    for row in rows:
        room = case["prompt"] - 8
        text = (filler * room)[: room * 4]
        ids = tokenizer(text)["input_ids"][: room - 4]  # pyright: ignore[reportIndexIssue]
        row["prompt"] = [{"role": "user", "content": tokenizer.decode(ids)}]
    config = CEPOConfig(
        output_dir=folder, method="cepo", max_steps=2, per_device_train_batch_size=case["micro_rows"],
        gradient_accumulation_steps=case["rows"] // case["micro_rows"], num_generations=8 if case["rows"] > 8 else 4,
        max_completion_length=case["completion"], teacher_weights=case["teacher"], learning_rate=1e-5,
        score_tokens_per_forward=case["tokens_per_forward"], gradient_checkpointing=case["checkpointing"],
        wrong_reward="right_or_wrong", bf16=False, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
        null_control_every=0, trace_groups=0, generation_kwargs={"min_new_tokens": case["completion"]},
    )  # fmt: skip
    adapter = LoraConfig(r=case["lora_rank"], target_modules="all-linear") if case["lora_rank"] else None
    trainer = CEPOTrainer(
        model, [right_or_wrong], config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=adapter,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def make_model(case: dict[str, Any]) -> Any:
    heads = case["hidden"] // 64
    config = Qwen3Config(
        vocab_size=case["vocabulary"], hidden_size=case["hidden"], intermediate_size=case["intermediate"],
        num_hidden_layers=case["layers"], num_attention_heads=heads, num_key_value_heads=max(1, heads // 2),
        head_dim=64, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=2, pad_token_id=0,
        bos_token_id=None,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def measure(name: str) -> None:
    """Print the phases' peaks in bytes over the process without the model, the model's parameters and the prompt."""
    random.seed(0)
    torch.manual_seed(0)
    case, found, seen = BASE | CASES[name], {}, {}
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        train(BASE | WARM_UP, make_model(BASE | WARM_UP), folder)
    settle()
    before = resident("VmRSS")
    for phase, (owner, function) in PHASES.items():
        setattr(owner, function, _peaking(getattr(owner, function), phase, found, seen))
    model = make_model(case)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        train(case, model, folder)
    peaks = {phase: peak - before for phase, peak in found.items()}
    print(json.dumps({"peaks": peaks, "parameters": parameters, "prompt": seen["prompt"]}))


def _peaking(own: Callable[..., Any], phase: str, found: dict[str, int], seen: dict[str, int]) -> Callable[..., Any]:
    @wraps(own)
    def peaking(*args: Any, **kwargs: Any) -> Any:
        Path("/proc/self/clear_refs").write_text("5")
        result = own(*args, **kwargs)
        if args[0].state.global_step == 1:  # the second: AdamW has its state
            found[phase] = max(found.get(phase, 0), resident("VmHWM"))
        if phase == "generation":
            seen["prompt"] = max(map(len, result[0]))
        return result

    return peaking


def settle() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def compare(name: str) -> dict[str, Any]:
    """Measured against modelled, by phase, MiB."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--measure", name]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if run.returncode:
        sys.exit(run.stderr[-3000:])
    measured = json.loads(run.stdout.splitlines()[-1])
    case = BASE | CASES[name]
    load = Load(
        rows=case["rows"], micro_rows=case["micro_rows"], prompt=measured["prompt"], completion=case["completion"],
        weight_bytes=4, lora_rank=case["lora_rank"], keeps_copy=case["teacher"] == "ema",
        tokens_per_forward=case["tokens_per_forward"], has_checkpoints=case["checkpointing"],
        logits_per_chunk=LOGITS_PER_CHUNK_CPU, has_kernels=False,
    )  # fmt: skip
    model = peak_memory(shape_of(make_model(case).config, measured["parameters"]), load)
    phases = {}
    for phase, peak in measured["peaks"].items():
        phases[phase] = {"measured": peak / MIB, "modelled": model.peak_of(phase) / MIB}
    peak = max(one["measured"] for one in phases.values())
    return {
        "case": case,
        "phases": phases,
        "peak": peak,
        "modelled": model.peak / MIB,
        "ratio": model.peak / MIB / peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", choices=tuple(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/memory.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        return measure(options.measure)
    results: dict[str, Any] = {"made_by": provenance(1), "cases": {}}
    for name in options.cases:
        found = results["cases"][name] = compare(name)
        parts = ", ".join(f"{p} {v['measured']:.0f}/{v['modelled']:.0f}" for p, v in found["phases"].items())
        both = f"peak {found['peak']:.0f} MiB, modelled {found['modelled']:.0f} ({found['ratio']:.2f})"
        print(f"{name:18s} {both}; {parts}", flush=True)
    if options.keep:
        print(write_results("memory", results))


if __name__ == "__main__":
    main()
