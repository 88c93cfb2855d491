"""For first_gpu_run.sh: its parts that a shell cannot do, each with a JSON.

python benchmarks/measured.py train OUT.json --config ...        `cepo train` in this process: seconds, peak memory
python benchmarks/measured.py evidence OUT.json --config ...     evidence by each precision against the plain forward
python benchmarks/measured.py verdict FOLDER METHOD ...          write FOLDER/verdict.json; exit code 0: all went well
"""

from __future__ import annotations

import json
import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("cepo", "torch", "transformers", "trl", "peft", "accelerate", "vllm")
PHASES = ("generation", "credit", "update")
BOUND = 1e-3
"""Nats: evidence in fp32 against that of the plain forward in fp32; more is no rounding."""


def every_other(prompts: object, completions: Sequence[Any], **_: object) -> list[float]:
    """A reward that calls every other rollout right, so that each group has something to tell apart: without it a model
    that is always right, or always cut, would have its credit timed on no rows."""
    return [float(place % 2) for place in range(len(completions))]


def train(out: Path, words: list[str]) -> int:
    from cepo.cli import main
    from cepo.data.rewards import REWARDS

    REWARDS["every_other"] = every_other
    started = time.time()
    code = main(["train", *words, "--rewards", "[accuracy_reward, every_other]", "--reward_weights", "[0.1, 1.0]",
                 "--wrong_reward", "every_other"])  # fmt: skip
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: dict[str, Any] = {"code": code, "seconds": time.time() - started, "peak_host_bytes": host}
    if torch.cuda.is_available():
        free, whole = torch.cuda.mem_get_info()
        found["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        found["peak_gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
        found["gpu_in_use_at_the_end_bytes"] = whole - free  # vLLM's too, wherever it keeps it
    out.write_text(json.dumps(found) + "\n")
    return code


def evidence(out: Path, words: list[str]) -> int:
    """One problem's prompt, and the same with a reference's words: the difference of a completion's log-probs."""
    from cepo.data.datasets import load_data
    from cepo.runs.policy import load_policy
    from cepo.runs.problems import training_spec
    from cepo.runs.recipe import load_recipe, parse_overrides, resolve_recipe
    from cepo.scoring import PRECISIONS, score
    from cepo.scoring.precision import scoring_in
    from cepo.scoring.probe import own_logps
    from cepo.trainer.probing import probe_rows
    from cepo.trainer.prompt_host import PromptHost

    _, recipe, *fields = words
    run, config = resolve_recipe({**load_recipe(Path(recipe)), **parse_overrides(fields)})
    model, processor = load_policy(run, config)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()  # pyright: ignore[reportArgumentType]
    host, token = PromptHost(processor, {}), getattr(processor, "image_token_id", None)
    bare, told = probe_rows(load_data(training_spec(run, config)), host.encoded, host.tokenizer, token)[:2]
    rows = [bare, replace(told, completion_ids=bare.completion_ids)]

    def plain() -> torch.Tensor:
        with torch.no_grad():
            bare_T, told_T = (own_logps(model, row, 1.0, token).float() for row in rows)
        return told_T - bare_T

    with scoring_in(model, "float32"):
        own_T = plain()
    off = {"plain forward in the model's own dtype": (plain() - own_T).abs().max().item()}
    for precision in PRECISIONS:
        found = score(model, rows, width=len(bare.completion_ids), image_token_id=token, precision=precision)
        off[precision] = (found[1] - found[0] - own_T).abs().max().item()
    out.write_text(json.dumps({"evidence_nats": own_T.tolist(), "largest_difference_nats": off}) + "\n")
    print(f"evidence of {len(own_T)} tokens, largest |Delta| {own_T.abs().max().item():.2f} nats; off by at most {off}")
    return 0


def verdict(folder: Path, methods: list[str]) -> int:
    found: dict[str, Any] = {"machine": machine(), "seconds": {}, "faults": []}
    for name in ("install", "doctor"):
        file = folder / f"{name}.seconds"
        found["seconds"][name] = int(file.read_text()) if file.is_file() else None
    found["doctor"] = lines_of(folder / "doctor.txt")
    found["evidence"] = read(folder / "evidence.json")
    found["methods"] = {method: of_method(folder, method) for method in methods}
    found["faults"] = faults(found)
    found["verdict"] = "not all went well" if found["faults"] else "all methods took their steps"
    (folder / "verdict.json").write_text(json.dumps(found, indent=1) + "\n")
    print_table(found["methods"])
    for fault in found["faults"]:
        print(f"FAULT: {fault}")
    print(f"{found['verdict']}; send us {folder / 'verdict.json'}")
    return 1 if found["faults"] else 0


def faults(found: dict[str, Any]) -> list[str]:
    """All that is not as it should be, a sentence each."""
    said = [line for line in found["doctor"] if line.startswith("fail")]
    if not found["doctor"]:
        said.append("the doctor said nothing")
    off = found["evidence"].get("largest_difference_nats", {}).get("float32", math.inf)
    if not off < BOUND:
        said.append(f"evidence in fp32 differs from the plain forward's by {off:.1e} nats (evidence.txt)")
    for method, one in found["methods"].items():
        if one.get("code") != 0:
            said.append(f"{method} failed: see {method}.txt, and last_words")
            continue
        for step in one["steps"]:
            bad = [name for name in ("loss", "grad_norm") if not math.isfinite(step[name])]
            said += [f"{method}, step {step['step']}: {name} is {step[name]}" for name in bad]
            if step.get("credit/rows_nonfinite"):
                said.append(f"{method}, step {step['step']}: rows without finite log-probs")
        told = [step.get("credit/rows_scored", step.get("distill/rows_taught")) for step in one["steps"]]
        if not told or (method != "grpo" and not all(told)):
            said.append(f"{method}: a step in which no row got credit, whose seconds say nothing")
    return said


def print_table(methods: dict[str, Any]) -> None:
    """Seconds on the wall, by phase and step; the first step warms up."""
    print(f"{'method':8s} {'step':>4s} " + " ".join(f"{name + ' s':>13s}" for name in PHASES) + f" {'peak GiB':>9s}")
    for method, one in methods.items():
        peak = (one.get("peak_gpu_bytes") or one.get("peak_host_bytes") or 0) / 2**30
        for step in one["steps"]:
            seconds = " ".join(f"{step.get(f'phase/{name}_s', math.nan):13.2f}" for name in PHASES)
            print(f"{method:8s} {step['step']:4d} {seconds} {peak:9.2f}")
        if not one["steps"]:
            print(f"{method:8s} no step")


def of_method(folder: Path, method: str) -> dict[str, Any]:
    """Exit code, time and memory, each step's numbers; of a failure, its last lines."""
    found = read(folder / f"{method}.json")
    records = [json.loads(line) for line in lines_of(folder / method / "metrics.jsonl")]
    found["steps"] = [record for record in records if "loss" in record]
    if found.get("code") != 0:
        found["last_words"] = lines_of(folder / f"{method}.txt")[-25:]
    return found


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def machine() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "gpus": [{"name": one.name, "bytes": one.total_memory, "capability": [one.major, one.minor]} for one in gpus],
        "cuda": torch.version.cuda,
        "driver": said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "revision": said_by("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def said_by(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    sys.exit({"train": train, "evidence": evidence, "verdict": verdict}[what](Path(where), rest))
