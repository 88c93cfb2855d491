"""Two processes with unlike data train on, or end in an error on both: never does one wait for ever for the other.

Collectives that stand inside of a branch: the number of forwards where weights are sharded (`scorer`), of live rows
(`micro_batch`) and of dead groups (`resample`), null controls (`null`), groups and verdicts (`trainer`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pair import Sharding, on_two
from tests.runs.small import write_model
from tests.trainer.small_text import build


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_unlike_data(sharding: Sharding, tmp_path: Path) -> None:
    """One process has nothing to learn from, in every branch; then one has a reward that fails."""
    model = write_model(tmp_path / "model")

    def work(rank: int, folder: Path) -> list[int]:
        def one_sided(completions: list[Any], **_: Any) -> list[float]:
            return [float(rank == 0 and row % 2) for row in range(len(completions))]

        def failing(completions: list[Any], **_: Any) -> list[float]:
            if rank == 1 and calls:
                raise RuntimeError("this process fails")
            calls.append(1)
            return [float(row % 2) for row in range(len(completions))]

        calls: list[int] = []
        branches: list[dict[str, Any]] = [
            {"skip_dead_groups": True, "null_control_every": 1, "teacher_weights": "synced"},
            {"resample_dead_groups": 1, "trace_groups": 1},
        ]
        steps = []
        for number, fields in enumerate(branches):
            named = {"wrong_reward": "one_sided", "max_steps": 2}
            trainer = build(model, folder / str(number), rewards=[one_sided], **named, **fields)
            trainer.train()
            steps.append(trainer.state.global_step)
        (folder / f"trained-{rank}").write_text(str(steps))
        trainer = build(model, folder / "failing", rewards=[failing], wrong_reward="failing", max_steps=3)
        calls.clear()
        trainer.train()
        return steps

    both = on_two(work, tmp_path / "two", sharding, seconds=100)
    assert not any(one.hung for one in both), both
    for rank, one in enumerate(both):
        assert (tmp_path / "two" / f"trained-{rank}").read_text() == "[2, 2]", one.error
    assert "this process fails" in both[1].error
    assert both[0].error
