"""What a GPU says of Qwen3-VL-2B's shape, without its weights: for a machine that has a GPU and no model hub.

    python benchmarks/gpu.py scoring OUT.json [--revision R]    evidence: seconds, memory, error, by way and precision
    python benchmarks/gpu.py checkpoint FOLDER [--steps N]      a checkpoint of that shape that solves figures a little
    python benchmarks/gpu.py train OUT.json [--revision R] METHOD ...    steps of that checkpoint, phase by phase

Weights are random; those of `checkpoint` then learn the supervised rows of the embedded figures model for a minute, so
that rollouts end, and hold answers that differ. Seconds are of the wall, between synchronisations of the GPU.
`CEPO_GPU_SHAPE=toy` is for a machine without one: the same code at 64 units.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from measured import machine, read
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

import scoring
from cepo.figures.wording import words
from cepo.lab.noisy import vocabulary
from cepo.lab.warm_start_figures import Rows, Settings
from cepo.models.embedded import initialised, special_ids
from cepo.models.embedded_figures import PANEL_CELLS, SIDE_PANELS, build_figures_processor
from cepo.scoring import ScoreRow, score

TOY = os.environ.get("CEPO_GPU_SHAPE") == "toy"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROLLOUTS, LONGEST = (4, 40) if TOY else (8, 1100)
RATE = 3e-3 if TOY else 1e-4
MICRO = "4" if TOY else "16"


def shape(**vision: Any) -> dict[str, Any]:
    """Qwen3-VL-2B's published shape."""
    big = not TOY
    width, head = (2048, 128) if big else (64, 16)
    return {
        "text_config": {
            "vocab_size": 151_936 if big else 49_152, "hidden_size": width, "intermediate_size": 3 * width,
            "num_hidden_layers": 28 if big else 2, "num_attention_heads": 16 if big else 4,
            "num_key_value_heads": 8 if big else 2, "head_dim": head, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True,
                                "mrope_section": [head // 2 - 2 * (head // 6), head // 6, head // 6]},
        },
        "vision_config": {
            "depth": 24 if big else 2, "hidden_size": 1024 if big else 48, "num_heads": 16 if big else 4,
            "intermediate_size": 4096 if big else 96, "patch_size": 16, "out_hidden_size": width,
            "deepstack_visual_indexes": [5, 11, 17] if big else [0], **vision,
        },
        "tie_word_embeddings": True,
    }  # fmt: skip


def scoring_part(out: Path, revision: str) -> None:
    """32 rollouts (4 groups) at the paper's lengths, told answers and told solutions of their own."""
    ids = {"image_token_id": scoring.IMAGE_TOKEN, "video_token_id": 6, "vision_start_token_id": 7}
    config = Qwen3VLConfig(**shape(spatial_merge_size=2, num_position_embeddings=2304), **ids, vision_end_token_id=8)
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16).eval()
    lengths: Any = {"prompt": (300, 400), "completion": (LONGEST // 4, LONGEST)}
    told = {
        "answers": scoring.make_rows(True, 4, ROLLOUTS, **lengths),
        "solutions": scoring.make_rows(True, 4, ROLLOUTS, told=300, wrongs=0, **lengths),
    }
    found: dict[str, Any] = {"machine": machine(), "revision": revision, "parameters": model.num_parameters()}
    for name, rows in told.items():
        found[name] = compare_ways(model, rows)
        out.write_text(json.dumps(found, indent=1) + "\n")
        for way, one in found[name]["ways"].items():
            print(name, way, {key: value for key, value in one.items() if key != "all"}, flush=True)


def compare_ways(model: Any, rows: list[ScoreRow]) -> dict[str, Any]:
    """Median seconds and peak memory above the weights of each way, and how far its evidence is from fp32's.

    Evidence: of each rollout under r+ minus under r-; the two stand side by side in `rows`.
    """
    width = max(len(row.completion_ids) for row in rows)

    def ours(precision: str) -> Callable[[], Tensor]:
        return lambda: score(model, rows, width=width, image_token_id=scoring.IMAGE_TOKEN, precision=precision)

    ways: dict[str, Callable[[], Tensor]] = {
        "cepo, float32": ours("float32"), "cepo, tf32 (default)": ours("tf32"), "cepo, bfloat16": ours("bfloat16"),
        "released way, bf16": there(lambda: scoring.released(model, rows)),
        "each batch whole, bf16": there(lambda: scoring.each_batch_whole(model, rows)),
    }  # fmt: skip
    truth: Tensor | None = None
    found: dict[str, Any] = {}
    for name, way in ways.items():
        runs = [timed(way) for _ in range(3)]  # the first warms up
        value = runs[0][0].double().cpu()
        delta = value[0::2] - value[1::2]
        truth = delta if truth is None else truth
        off = (delta - truth).abs()[delta != 0]
        seconds = [run[1] for run in runs[1:]]
        found[name] = {
            "seconds": statistics.median(seconds), "peak_gib": max(run[2] for run in runs) / 2**30, "all": seconds,
            "evidence_off_median": off.median().item(), "evidence_off_max": off.max().item(),
        }  # fmt: skip
    assert truth is not None
    tokens = sum(len(row.completion_ids) for row in rows)
    flops = scoring.floor_flops(model, rows)
    return {
        "rows": len(rows), "completion_tokens": tokens, "floor_pflop": flops / 1e15,
        "evidence_median": truth[truth != 0].abs().median().item(), "ways": found,
    }  # fmt: skip


def there(way: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The peers' code makes its tensors wherever tensors are made."""

    def run() -> Tensor:
        with torch.device(DEVICE):
            return way()

    return run


def timed(way: Callable[[], Tensor]) -> tuple[Tensor, float, int]:
    """The result, seconds, and peak bytes above what stood before."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    before = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
    started = time.perf_counter()
    value = way().clone()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return value, seconds, (torch.cuda.max_memory_allocated() - before) if DEVICE == "cuda" else 0


def checkpoint_part(folder: Path, steps: int) -> None:
    """Supervised training on noisy solutions of figures, the tower left as it is."""
    processor = build_figures_processor(vocabulary(words()))
    side = SIDE_PANELS * PANEL_CELLS
    vision = {"spatial_merge_size": PANEL_CELLS, "num_position_embeddings": side**2}
    config = Qwen3VLConfig(**shape(**vision), **special_ids(processor.tokenizer))
    with torch.device(DEVICE):
        model = initialised(config, processor.tokenizer, 0)
    model.model.visual.requires_grad_(False)
    settings = Settings(pool=400, batch=8 if TOY else 32, answer_share=0.3, rationale_share=0.2)
    with torch.device("cpu"):
        tower = model.model.visual.to("cpu")
        rows = Rows(settings, model, processor)
        tower.to(DEVICE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=DEVICE == "cuda")
    started = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20)
        inputs, targets = rows.batch(("plain", "answer", "rationale", "plain")[step % 4])
        inputs = {name: value.to(DEVICE) for name, value in inputs.items()}
        with torch.autocast(DEVICE, torch.bfloat16, enabled=not TOY):
            states = model.model.language_model(
                inputs_embeds=inputs["inputs_embeds"], position_ids=inputs["position_ids"],
                attention_mask=inputs["attention_mask"], use_cache=False,
            ).last_hidden_state  # fmt: skip
            learnt = targets.to(DEVICE) != -100
            loss = F.cross_entropy(model.lm_head(states[learnt]).float(), targets.to(DEVICE)[learnt])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step + 1 == steps:
            print(f"step {step} loss {loss.item():.3f} {time.time() - started:.0f} s", flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    print(f"saved after {time.time() - started:.0f} s", flush=True)


METHODS: dict[str, list[str]] = {
    "grpo": ["--method", "grpo"],
    "cepo": ["--method", "cepo"],
    "solutions": ["--method", "decisive", "--reference_form", "rationale"],
    "rlsd": ["--method", "rlsd"],
    "opsd": ["--method", "opsd"],
    "sdpo": ["--method", "sdpo"],
    "grpo-full": ["--method", "grpo", "--lora_rank", "0", "--dtype", "float32"],
    "cepo-full": ["--method", "cepo", "--lora_rank", "0", "--dtype", "float32"],
}
"""Name -> fields beside COMMON."""

COMMON = [
    "--config", "tiny_figures/cepo.yaml", "--max_steps", "3", "--eval_data", "null", "--save_strategy", "no",
    "--dtype", "bfloat16", "--bf16", str(DEVICE == "cuda").lower(), "--lora_rank", "16", "--freeze_vision", "true",
    "--per_device_train_batch_size", MICRO, "--gradient_accumulation_steps", "4", "--learning_rate", "1e-5",
    "--num_generations", "4" if TOY else "8", "--data_limit", "64", "--max_completion_length", "180",
]  # fmt: skip


def train_part(out: Path, revision: str, model: str, names: Sequence[str]) -> None:
    """Each method trains three steps in a process of its own (`benchmarks/measured.py`); all steps' metrics."""
    import subprocess

    found: dict[str, Any] = {"machine": machine(), "revision": revision, "methods": {}}
    for name in names:
        folder = out.parent / f"run-{name}"
        fields = [*COMMON, "--model", model, *METHODS[name], "--output_dir", str(folder)]
        part = out.parent / f"{name}.part.json"
        command = [sys.executable, str(Path(__file__).parent / "measured.py"), "train", str(part), *fields]
        ended = subprocess.run(command, capture_output=True, text=True)
        one = read(part)
        lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
        one["steps"] = [json.loads(line) for line in lines]
        if ended.returncode:
            one["last_words"] = (ended.stdout + ended.stderr).splitlines()[-30:]
            print("\n".join(one["last_words"]))
        found["methods"][name] = one
        out.write_text(json.dumps(found, indent=1) + "\n")
        for step in one["steps"]:
            print(name, {key: value for key, value in step.items() if "phase" in key or "rows" in key or "len" in key})
        print(name, "peak GiB", (one.get("peak_gpu_bytes") or 0) / 2**30, "seconds", one.get("seconds"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("scoring", "checkpoint", "train"))
    parser.add_argument("out", type=Path)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--model", default="")
    parser.add_argument("--revision", default="unknown", help="where this copy has no git history")
    options = parser.parse_args()
    if options.part == "scoring":
        scoring_part(options.out, options.revision)
    elif options.part == "checkpoint":
        checkpoint_part(options.out, options.steps)
    else:
        train_part(options.out, options.revision, options.model, options.methods)


if __name__ == "__main__":
    main()
