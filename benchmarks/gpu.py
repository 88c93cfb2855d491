"""What a GPU says of Qwen3-VL-2B's shape, without its weights: for a machine that has a GPU and no model hub.

    python benchmarks/gpu.py OUT.json [--parts PART ...] [--methods METHOD ...] [--revision R]

scoring: evidence by way and precision: seconds, memory, error. profile: what kernels of ours take. checkpoint: in OUT's
folder, one of that shape that solves figures a little. train: steps of it by method, phase by phase.

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
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from measured import machine, read, train
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
STEPS, ROWS, RATE, MICRO = (40, 8, 3e-3, "4") if TOY else (120, 8, 1e-4, "16")


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


def at_scale() -> tuple[Any, dict[str, list[ScoreRow]]]:
    """A model, and 32 rollouts (4 groups) at the paper's lengths, told answers and told solutions of their own."""
    ids = {"image_token_id": scoring.IMAGE_TOKEN, "video_token_id": 6, "vision_start_token_id": 7}
    config = Qwen3VLConfig(**shape(spatial_merge_size=2, num_position_embeddings=2304), **ids, vision_end_token_id=8)
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16).eval()
    lengths: Any = {"prompt": (300, 400), "completion": (LONGEST // 4, LONGEST)}
    with torch.device(DEVICE):  # their images; ids are lists
        told = {
            "answers": scoring.make_rows(True, 4, ROLLOUTS, **lengths),
            "solutions": scoring.make_rows(True, 4, ROLLOUTS, told=300, wrongs=0, **lengths),
        }
    return model, told


def profile_part() -> dict[str, Any]:
    """Milliseconds of the GPU (of the CPU where there is none) by kernel: the largest, and the sum."""
    model, told = at_scale()
    rows = told["answers"]
    width = max(len(row.completion_ids) for row in rows)
    found: dict[str, Any] = {}
    for precision in ("tf32", "bfloat16"):
        for _ in range(1 if TOY else 2):  # the first warms up
            with torch.profiler.profile(record_shapes=False) as profiler:
                score(model, rows, width=width, image_token_id=scoring.IMAGE_TOKEN, precision=precision)
                release()
        kind = "self_device_time_total" if DEVICE == "cuda" else "self_cpu_time_total"
        costs = {one.key: (getattr(one, kind) / 1e3, one.count) for one in profiler.key_averages()}
        largest = sorted(costs.items(), key=lambda pair: -pair[1][0])[:30]
        found[precision] = {"whole": sum(cost for cost, _ in costs.values()), "largest": dict(largest)}
        for name, (cost, count) in largest[:15]:
            print(f"{precision:9s} {cost:9.1f} ms {count:7d} {name[:90]}", flush=True)
    return found


def scoring_part() -> dict[str, Any]:
    """Both of `at_scale`, every way."""
    model, told = at_scale()
    found: dict[str, Any] = {"parameters": model.num_parameters()}
    for name, rows in told.items():
        found[name] = compare_ways(model, rows)
        for way, one in found[name]["ways"].items():
            print(name, way, {key: value for key, value in one.items() if key != "all"}, flush=True)
    return found


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
    release()
    before = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
    started = time.perf_counter()
    value = way().clone()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return value, seconds, (torch.cuda.max_memory_allocated() - before) if DEVICE == "cuda" else 0


class OnDevice(Rows):
    """The tower looks at the pictures, and rows are embedded, where the model is."""

    def _look(self, batch: list[Any]) -> list[Any]:
        tower: Any = self.model.model.visual
        there = tower.forward
        tower.forward = lambda seen, grid_thw, **rest: there(seen.to(DEVICE), grid_thw.to(DEVICE), **rest)
        try:
            return super()._look(batch)
        finally:
            del tower.forward

    def inputs(self, ids: Tensor, mask: Tensor, chosen: Sequence[Any]) -> dict[str, Tensor]:
        with torch.device(DEVICE):
            return super().inputs(ids.to(DEVICE), mask.to(DEVICE), chosen)


def checkpoint_part(folder: Path) -> dict[str, Any]:
    """Supervised training on noisy solutions of figures, the tower left as it is."""
    processor = build_figures_processor(vocabulary(words()))
    side = SIDE_PANELS * PANEL_CELLS
    vision = {"spatial_merge_size": PANEL_CELLS, "num_position_embeddings": side**2}
    config = Qwen3VLConfig(**shape(**vision), **special_ids(processor.tokenizer))
    with torch.device(DEVICE):
        model = initialised(config, processor.tokenizer, 0)
    model.model.visual.requires_grad_(False)
    settings = Settings(pool=400, batch=ROWS, answer_share=0.3, rationale_share=0.2)
    rows = OnDevice(settings, model, processor)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=DEVICE == "cuda")
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20)
        inputs, targets = rows.batch(("plain", "answer", "rationale", "plain")[step % 4])
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
        losses.append(loss.item())
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    return {"steps": STEPS, "first_loss": losses[0], "last_loss": statistics.mean(losses[-4:])}


METHODS: dict[str, list[str]] = {
    "grpo": ["--method", "grpo"],
    "cepo": ["--method", "cepo"],
    "decisive, solutions": ["--method", "decisive", "--reference_form", "rationale"],
    "rlsd": ["--method", "rlsd"],
    "opsd": ["--method", "opsd"],
    "sdpo": ["--method", "sdpo"],
}
"""Name -> fields beside COMMON."""

COMMON = [
    "--config", "tiny_figures/cepo.yaml", "--max_steps", "3", "--eval_data", "null", "--save_strategy", "no",
    "--dtype", "bfloat16", "--bf16", str(not TOY).lower(), "--lora_rank", "16", "--freeze_vision", "true",
    "--per_device_train_batch_size", MICRO, "--gradient_accumulation_steps", "4", "--learning_rate", "1e-5",
    "--num_generations", "4" if TOY else "8", "--data_limit", "64", "--max_completion_length", "180",
]  # fmt: skip


def train_part(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Three steps of each method on the checkpoint; all that was logged of them, and the peak of memory."""
    found: dict[str, Any] = {}
    for name in names:
        release()
        run = folder / f"run-{name.replace(', ', '-')}"
        fields = [*COMMON, "--model", str(folder / "checkpoint"), *METHODS[name], "--output_dir", str(run)]
        train(run.with_suffix(".json"), fields)
        lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        found[name] = read(run.with_suffix(".json")) | {"steps": [json.loads(line) for line in lines]}
        for step in found[name]["steps"]:
            print(name, {key: value for key, value in step.items() if key.startswith("phase/")}, flush=True)
    return found


def release() -> None:
    """Memory that nothing holds goes back, and the peak starts anew."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["grpo", "cepo", "decisive, solutions"])
    parser.add_argument("--folder", type=Path, help="of checkpoint and runs; OUT's own where nothing is said")
    parser.add_argument("--revision", help="where this copy has no git history")
    options = parser.parse_args()
    folder = options.folder or options.out.parent
    found: dict[str, Any] = read(options.out) | {"machine": machine()}
    if options.revision:
        found["machine"]["revision"] = options.revision
    for part in options.parts:
        started = time.time()
        try:
            found[part] = PARTS[part](folder, options)
        except Exception as error:
            traceback.print_exc()
            found[part] = {"failed": repr(error)}
        print(f"{part}: {time.time() - started:.0f} s", flush=True)
        release()
        options.out.write_text(json.dumps(found, indent=1) + "\n")


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "scoring": lambda _folder, _options: scoring_part(),
    "profile": lambda _folder, _options: profile_part(),
    "checkpoint": lambda folder, _options: checkpoint_part(folder / "checkpoint"),
    "train": lambda folder, options: train_part(folder, options.methods),
}

if __name__ == "__main__":
    main()
