"""How long a report of 2,000 rollouts of 300 tokens takes to open in headless Chromium."""

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

from cepo.reports.page import write_report
from cepo.reports.traces import CreditRecord, TraceWriter


def synthetic_run(folder: Path, rollouts: int, tokens: int) -> None:
    """A run folder whose rollouts are noise."""
    rng = Random(0)
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": s, "reward": rng.random()}) + "\n" for s in range(1, 51))
    )
    writer = TraceWriter(folder / "traces", max_bytes=2**30)
    for step in range(1, rollouts // 40 + 1):
        records = []
        for row in range(40):
            streams = [[-rng.expovariate(2.0) for _ in range(tokens)] for _ in "spm"]
            records.append(
                CreditRecord(
                    step=step,
                    problem_id=f"p{step}-{row // 8}",
                    row=row,
                    group=row // 8,
                    method="cepo",
                    prompt_text="?",
                    tokens=[rng.choice([" the", " angle", "42", "+", "\n"]) for _ in range(tokens)],
                    token_ids=[1] * tokens,
                    advantage=0.5,
                    base_advantage=rng.choice([-0.8, 0.7]),
                    reward=1.0,
                    logp_student=streams[0],
                    logp_plus=streams[1],
                    logp_minus=streams[2],
                    evidence=[0.0] * tokens,
                    weight=[1.0] * tokens,
                    correct=True,
                    r_plus="1",
                    r_minus=("2",),
                    minus_source="group",
                    strength=0.5,
                    clip=0.5,
                )
            )
        writer.write_step(records, [None] * len(records))


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
