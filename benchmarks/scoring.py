"""What scoring costs, against the released code's way and against the floor: `make bench`.

All variants score the same rows on the same model in fp32, alternating, in one process; times are CPU seconds,
medians over repetitions. Peak memory is the growth of the resident set above the loaded model and one small
call, each variant in a process of its own. The floor is the arithmetic of the completion tokens under both
contexts and nothing else, at the rate of a large matrix product measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from provenance import RESULTS, provenance, write_results
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from cepo.scoring import Images, ScoreRow, score
from cepo.scoring.forward import hidden_of_whole

VOCAB = 49152
IMAGE_TOKEN = 5
LAYERS = 4
"""Of SmolLM2-135M's 30: a run of minutes. The output layer is whole, so its share is larger than at full depth."""


def text_model(layers: int = LAYERS) -> Any:
    """SmolLM2-135M's shape."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
        num_key_value_heads=3, head_dim=64, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def vision_model(layers: int = LAYERS) -> Any:
    """Qwen3-VL's architecture at the text shape's size; images of 320 x 320 are 100 tokens."""
    torch.manual_seed(0)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": VOCAB, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers,
            "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [12, 10, 10],
                                "mrope_interleaved": True},
        },
        vision_config={
            "depth": 6, "hidden_size": 256, "intermediate_size": 1024, "num_heads": 4, "patch_size": 16,
            "spatial_merge_size": 2, "out_hidden_size": 576, "num_position_embeddings": 400,
            "deepstack_visual_indexes": [1, 3],
        },
        image_token_id=IMAGE_TOKEN, video_token_id=6, vision_start_token_id=7, vision_end_token_id=8,
        tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3VLForConditionalGeneration(config).eval()


def make_rows(
    vision: bool,
    groups: int,
    size: int,
    prompt: tuple[int, int],
    completion: tuple[int, int],
    told: int = 14,
    wrongs: int = 3,
) -> list[ScoreRow]:
    """Two contexts of every rollout: prompt, a reference of `told` tokens, 5 tokens that close the turn, completion.

    r+ is the group's; r- is one of so many wrong ones, 0: each rollout's own.
    """
    rng = Random(0)
    ids = lambda count: [rng.randrange(10, VOCAB) for _ in range(count)]
    rows = []
    for group in range(groups):
        shared, images = ids(rng.randint(*prompt)), None
        if vision:
            shared[2:2] = [7, *[IMAGE_TOKEN] * 100, 8]
            images = Images(torch.randn(400, 3 * 2 * 16 * 16), torch.tensor([[1, 20, 20]]))
        right, wrong = ids(told), [ids(told) for _ in range(wrongs)]
        for _ in range(size):
            answer = ids(rng.randint(*completion))
            for reference in (right, rng.choice(wrong) if wrong else ids(told)):
                rows.append(ScoreRow([*shared, *reference, 9, 9, 9, 9, 9], answer, images, group))
    return rows


def released(model: Any, rows: Sequence[ScoreRow]) -> Tensor:
    """Every row whole, padded to the longest of all, all logits: 4 rows at a time."""
    longest, width = max(row.length for row in rows), max(len(row.completion_ids) for row in rows)
    out = torch.zeros(len(rows), width)
    for start in range(0, len(rows), 4):
        batch = rows[start : start + 4]
        ids = torch.tensor([[*r.prompt_ids, *r.completion_ids, *[9] * (longest - r.length)] for r in batch])
        mask = torch.tensor([[1] * row.length + [0] * (longest - row.length) for row in batch])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if batch[0].images is not None:
            inputs["pixel_values"] = torch.cat([row.images.pixel_values for row in batch if row.images])
            inputs["image_grid_thw"] = torch.cat([row.images.grid_thw for row in batch if row.images])
            inputs["mm_token_type_ids"] = (ids == IMAGE_TOKEN).long()
        with torch.no_grad():
            logp = model(**inputs, use_cache=False).logits.float().log_softmax(-1)
        for i, row in enumerate(batch):
            first, count = len(row.prompt_ids) - 1, len(row.completion_ids)
            target = torch.tensor(row.completion_ids)
            out[start + i, :count] = logp[i, first : first + count].gather(-1, target[:, None])[:, 0]
    return out


def each_batch_whole(model: Any, rows: Sequence[ScoreRow]) -> Tensor:
    """As trainers with a teacher run it beside their policy: every row whole, 4 at a time, each batch padded to its own
    longest; the logits of all completion positions at once."""
    width = max(len(row.completion_ids) for row in rows)
    out = torch.zeros(len(rows), width)
    for start in range(0, len(rows), 4):
        batch = rows[start : start + 4]
        with torch.no_grad():
            states = torch.nn.utils.rnn.pad_sequence(hidden_of_whole(model, batch, IMAGE_TOKEN), batch_first=True)
            logp = model.lm_head(states).float().log_softmax(-1)
        for i, row in enumerate(batch):
            target = torch.tensor(row.completion_ids)
            out[start + i, : len(target)] = logp[i, : len(target)].gather(-1, target[:, None])[:, 0]
    return out


def completion_head(model: Any, rows: Sequence[ScoreRow]) -> Tensor:
    """Every row whole, the output layer on completion positions only, in chunks."""
    width = max(len(row.completion_ids) for row in rows)
    out = torch.zeros(len(rows), width)
    with torch.no_grad():
        for start in range(0, len(rows), 4):
            for i, states in enumerate(hidden_of_whole(model, rows[start : start + 4], IMAGE_TOKEN)):
                target = torch.tensor(rows[start + i].completion_ids)
                logp = torch.cat([model.lm_head(part).float().log_softmax(-1) for part in states.split(512)])
                out[start + i, : len(target)] = logp.gather(-1, target[:, None])[:, 0]
    return out


def ours(model: Any, rows: Sequence[ScoreRow]) -> Tensor:
    return score(model, rows, width=max(len(row.completion_ids) for row in rows), image_token_id=IMAGE_TOKEN)


def live(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Half of the groups."""
    return [row for row in rows if isinstance(row.group, int) and row.group % 2 == 0]


OURS = "+ shared prefix (cepo)"

VARIANTS: dict[str, Callable[[Any, Sequence[ScoreRow]], Tensor]] = {
    "released": released,
    "each batch whole": each_batch_whole,
    "skip dead groups": lambda model, rows: released(model, live(rows)),
    "+ head on completions": lambda model, rows: completion_head(model, live(rows)),
    OURS: lambda model, rows: ours(model, live(rows)),
}


def cpu_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def gemm_rate() -> float:
    """FLOP per CPU second of a large fp32 product, the median of five: as disturbed as what it is compared with."""
    a, b = torch.randn(2048, 576), torch.randn(576, 1536)
    seconds = statistics.median(cpu_seconds(lambda: [a @ b for _ in range(10)]) for _ in range(5))
    return 10 * 2 * 2048 * 576 * 1536 / seconds


def floor_flops(model: Any, rows: Sequence[ScoreRow]) -> float:
    """Of the completion tokens: the layers' products, attention over what stands before, and the output layer."""
    config = model.config.get_text_config()
    layers = [p for name, p in model.named_parameters() if ".layers." in name and p.dim() == 2 and "visual" not in name]
    per_token = 2 * sum(p.numel() for p in layers) + 2 * config.hidden_size * config.vocab_size
    attention = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
    return sum(
        per_token + attention * (len(row.prompt_ids) + t) for row in rows for t in range(len(row.completion_ids))
    )


def shape(vision: bool) -> tuple[Any, list[ScoreRow]]:
    model = vision_model() if vision else text_model()
    return model, make_rows(vision, groups=2, size=8, prompt=(300, 768), completion=(100, 500))


def compare_variants(vision: bool, repetitions: int) -> dict[str, Any]:
    model, rows = shape(vision)
    ours(model, rows[:2])
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    rates = [gemm_rate()]
    for _ in range(repetitions):
        for name, variant in VARIANTS.items():
            times[name].append(cpu_seconds(lambda variant=variant: variant(model, rows)))
        rates.append(gemm_rate())
    expected = completion_head(model, live(rows))
    error = (ours(model, live(rows)) - expected).abs().max().item()
    floor = floor_flops(model, live(rows)) / statistics.median(rates)
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = medians[OURS]
    kind = "vision" if vision else "text"
    return {
        "cpu_seconds": medians,
        "all": times,
        "floor_cpu_seconds": floor,
        "speed_up": medians["released"] / best,
        "over_floor": best / floor,
        "largest_difference_nats": error,
        "gemm_gflops_per_cpu_second": statistics.median(rates) / 1e9,
        "peak_extra_mb": {name: peak_of(kind, name) for name in VARIANTS},
    }


def peak_of(kind: str, variant: str) -> float:
    """Peak resident MB above the loaded model, in a fresh process."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--peak", kind, variant]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(kind: str, variant: str) -> None:
    """Of the live rows; for the variants that run four rows at a time, of the eight longest: they pad all alike."""
    model, rows = shape(kind == "vision")
    rows = sorted(live(rows), key=lambda row: -row.length)
    if variant != OURS:
        rows = rows[:8]
    ours(model, rows[:2])  # what every process allocates once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_kb("VmRSS")
    VARIANTS[variant](model, rows)
    print((resident_kb("VmHWM") - before) / 1024)


def resident_kb(field: str) -> int:
    """Linux only. `ru_maxrss` would not do: a process inherits its parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def growth() -> dict[str, Any]:
    """CPU seconds of cepo's scoring against group size, prompt and completion; slope of log on log."""
    model = text_model(layers=4)
    axes: dict[str, list[tuple[int, list[ScoreRow]]]] = {
        "rollouts of a group": [(g, make_rows(False, 1, g, (400, 400), (150, 150))) for g in (4, 8, 16, 32)],
        "prompt tokens": [(n, make_rows(False, 1, 8, (n, n), (150, 150))) for n in (200, 400, 800, 1600)],
        "completion tokens": [(n, make_rows(False, 1, 8, (400, 400), (n, n))) for n in (75, 150, 300, 600)],
        "tokens of r+ and r-, one r-": [
            (n, make_rows(False, 1, 8, (400, 400), (300, 300), n, 1)) for n in (15, 150, 300, 600, 1000)
        ],
        "tokens of r+ and r-, each its own r-": [
            (n, make_rows(False, 1, 8, (400, 400), (300, 300), n, 0)) for n in (15, 150, 300, 600, 1000)
        ],
    }
    found = {}
    for axis, points in axes.items():
        values = [(x, cpu_seconds(lambda rows=rows: ours(model, rows))) for x, rows in points]
        logs = torch.tensor(values, dtype=torch.float64).log()
        centred = logs - logs.mean(dim=0)
        slope = (centred[:, 0] * centred[:, 1]).sum() / centred[:, 0].square().sum()
        found[axis] = {"points": values, "slope": slope.item()}
    return {"axes": found}


def plot_growth(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 5, figsize=(15, 3.2), sharey=True, layout="constrained")
    for axis, (name, values) in zip(axes, found["axes"].items(), strict=True):
        x, y = zip(*values["points"], strict=True)
        axis.loglog(x, y, "o-", color="#0072B2")
        axis.set_xticks(x, [str(v) for v in x])
        axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axis.minorticks_off()
        axis.set_xlabel(name)
        axis.set_title(f"slope {values['slope']:.2f}", fontsize=10)
    axes[0].set_ylabel("CPU seconds")
    figure.savefig(path, dpi=120)


def print_part(name: str, result: dict[str, Any]) -> None:
    if name == "growth":
        plot_growth(result, RESULTS / "scoring_growth.png")
        for axis, values in result["axes"].items():
            print(f"cost against {axis}: slope {values['slope']:.2f}", flush=True)
    else:
        print_table(name, result)


def print_table(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name} shape: CPU seconds, speed-up, peak extra MB")
    base = result["cpu_seconds"]["released"]
    for variant, seconds in result["cpu_seconds"].items():
        print(f"  {variant:26s} {seconds:8.2f}  {base / seconds:6.1f}x  {result['peak_extra_mb'][variant]:8.0f}")
    print(f"  {'floor':26s} {result['floor_cpu_seconds']:8.2f}  (cepo is {result['over_floor']:.2f} x the floor)")
    print(f"  largest difference {result['largest_difference_nats']:.1e} nats", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("KIND", "VARIANT"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=("text", "vision", "growth"), help="these parts, the others kept")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print_peak(*options.peak)
        return
    path = RESULTS / "scoring.json"
    results = json.loads(path.read_text()) if options.only and path.exists() else {}
    results |= {"layers": LAYERS, "repetitions": options.repetitions}
    parts: dict[str, Callable[[], Any]] = {
        "text": lambda: compare_variants(False, options.repetitions),
        "vision": lambda: compare_variants(True, options.repetitions),
        "growth": growth,
    }
    for name in options.only or parts:
        results[name] = {"made_by": provenance(options.threads)} | parts[name]()
        print_part(name, results[name])
        write_results("scoring", results)


if __name__ == "__main__":
    main()
