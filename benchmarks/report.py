"""How long a report of 2,000 rollouts of 300 tokens takes to open in headless Chromium, and how large it is."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from cepo.glossary import Told
from cepo.reports.page import write_report
from cepo.reports.traces import CreditRecord, TraceWriter

GROUP, GROUPS = 8, 5


def synthetic_rollout(rng: Random, step: int, row: int, tokens: int) -> CreditRecord:
    """A rollout whose log-probs and credit are noise."""

    def noise(mean: float) -> list[float]:
        return [mean - rng.expovariate(2.0) for _ in range(tokens)]

    return CreditRecord(
        step=step,
        problem_id=f"p{step}-{row // GROUP}",
        row=row,
        group=row // GROUP,
        method="cepo",
        prompt_text="?",
        tokens=[rng.choice([" the", " angle", "42", "+", "\n"]) for _ in range(tokens)],
        token_ids=[1] * tokens,
        advantage=noise(0.9),
        base_advantage=rng.choice([-0.8, 0.7]),
        reward=1.0,
        correct=True,
        told={"plus": Told(("1",), "gold"), "minus": Told(("2",), "group")},
        logps={name: noise(0.0) for name in ("student", "plus", "minus")},
        evidence=noise(0.5),
        weight=noise(1.5),
        strength=0.5,
        clip=0.5,
    )


def synthetic_run(folder: Path, rollouts: int, tokens: int) -> None:
    rng = Random(0)
    folder.mkdir()
    metrics = ({"step": step, "reward": rng.random()} for step in range(1, 51))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    writer = TraceWriter(folder / "traces", max_bytes=2**30)
    for step in range(1, rollouts // (GROUP * GROUPS) + 1):
        writer.write_step([synthetic_rollout(rng, step, row, tokens) for row in range(GROUP * GROUPS)])


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        synthetic_run(Path(folder) / "run", 2000, 300)
        out = Path(folder) / "report.html"
        write_report([Path(folder) / "run"], out)
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{out}"]
        ready = []
        for _ in range(5):
            dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
            ready += [int(value) for value in re.findall(r'data-ready="(\d+)"', dom)]
        print(f"{out.stat().st_size / 2**20:.1f} MiB; ready after {statistics.median(ready)} ms (all: {ready})")


if __name__ == "__main__":
    main()
