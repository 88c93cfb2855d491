"""Run folders as `cepo train` leaves them, small."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cepo.glossary import Told
from cepo.reports.traces import CreditRecord, TraceWriter

MakeRun = Callable[..., Path]


def record(row: int = 0, tokens: list[str] | None = None, **changes: object) -> CreditRecord:
    """A wrong rollout of four tokens, scored under three prompts. Its credit does not follow from its log-probs."""
    tokens = tokens or ["2", "+", "2", "=5"]
    count = len(tokens)
    plain = CreditRecord(
        step=1,
        problem_id="p",
        row=row,
        group=row // 2,
        method="cepo",
        prompt_text="What?",
        tokens=tokens,
        token_ids=list(range(count)),
        advantage=[-0.8] * (count - 1) + [-1.0],
        base_advantage=-0.8,
        reward=0.0,
        correct=False,
        answer="5",
        gold="4",
        told={"plus": Told(("4",), "gold"), "minus": Told(("5",), "group", is_own=True)},
        logps={
            "student": [-0.5] * count,
            "plus": [-0.4 - 0.3 * t for t in range(count)],
            "minus": [-0.6 + 0.1 * t for t in range(count)],
        },
        evidence=[0.0] * (count - 1) + [-0.75],
        weight=[1.0] * (count - 1) + [1.5],
        strength=0.5,
        clip=0.5,
    )
    return replace(plain, **changes)


def unscored(row: int = 0, **changes: object) -> CreditRecord:
    """A rollout without credit: GRPO's, or one that no credit was due to."""
    return record(row, told={}, logps={}, evidence=None, weight=None, advantage=-0.8, strength=0.0, **changes)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(name: str = "run", records: list[CreditRecord] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        metrics = [{"step": s, "reward": 0.1 * s, "credit/lambda": 0.5, "phase/update_s": 1.0} for s in (1, 2, 3)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
        (folder / "config.yaml").write_text("method: cepo\nseed: 0\n")
        (folder / "summary.json").write_text("{}")
        given = records if records is not None else [record(0), record(1)]
        TraceWriter(folder / "traces").write_step(given, [Image.new("RGB", (8, 8), "white")] * len(given))
        return folder

    return make
