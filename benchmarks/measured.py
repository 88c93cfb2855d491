"""For first_gpu_run.sh: one command of cepo with its time and peak memory, and all of them in one file.

python benchmarks/measured.py OUT.json train --config ...     run `cepo train ...` in this process
python benchmarks/measured.py --verdict FOLDER METHOD ...     write FOLDER/verdict.json, and say whether all went well
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("cepo", "torch", "transformers", "trl", "peft", "accelerate", "vllm")


def measured(out: Path, words: list[str]) -> int:
    from cepo.cli import main

    started = time.time()
    code = main(words)
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"code": code, "seconds": time.time() - started, "peak_gpu_bytes": gpu, "peak_host_bytes": host}
    out.write_text(json.dumps(found) + "\n")
    return code


def verdict(folder: Path, methods: list[str]) -> int:
    found: dict[str, Any] = {"machine": machine(), "doctor": (folder / "doctor.txt").read_text().splitlines()}
    found["methods"] = {method: of_method(folder, method) for method in methods}
    good = all(one.get("code") == 0 for one in found["methods"].values())
    found["verdict"] = "all methods took their steps" if good else "some method failed"
    (folder / "verdict.json").write_text(json.dumps(found, indent=1) + "\n")
    for method, one in found["methods"].items():
        last = next((step for step in reversed(one["steps"]) if "phase/update_s" in step), {})
        phases = {name: last.get(f"phase/{name}_s") for name in ("generation", "credit", "update")}
        print(f"{method:6s} {'ok' if one.get('code') == 0 else 'FAILED'}  seconds of the last step: {phases}")
    print(f"{found['verdict']}; send us {folder / 'verdict.json'}")
    return 0 if good else 1


def of_method(folder: Path, method: str) -> dict[str, Any]:
    """Exit code, time and memory, each step's numbers; of a failure, its last lines."""
    record = folder / f"{method}.json"
    found: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {}
    metrics = folder / method / "metrics.jsonl"
    found["steps"] = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.is_file() else []
    if found.get("code") != 0:
        found["last_words"] = (folder / f"{method}.txt").read_text().splitlines()[-15:]
    return found


def machine() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform(), "gpus": gpus}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    sys.exit(verdict(Path(rest[0]), rest[1:]) if first == "--verdict" else measured(Path(first), rest))
