"""What is due at a step is done for it, whether the step generates or not, for every method, and after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from cepo.trainer.null import is_due
from tests.runs.small import write_model
from tests.trainer.small_text import build

FIELDS: dict[str, Any] = {"teacher_weights": "synced", "teacher_sync_every": 3, "max_steps": 12}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


class Copies(TrainerCallback):
    """Steps at whose start the teacher's weights are the policy's."""

    def __init__(self) -> None:
        self.trainer: Any = None
        self.steps: list[int] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        own = self._weights()
        with self.trainer.teacher.in_place(self.trainer.policy):
            if all(torch.equal(one, other) for one, other in zip(own, self._weights(), strict=True)):
                self.steps.append(state.global_step + 1)

    def _weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.trainer.policy.parameters()]


def run(model: Path, folder: Path, resume: str | None = None, **fields: Any) -> tuple[Any, list[int]]:
    trainer, copies = build(model, folder, **FIELDS | fields), Copies()
    copies.trainer = trainer
    trainer.add_callback(copies)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, copies.steps


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "cepo", "steps_per_generation": 4},
        {"method": "cepo", "credit_schedule": "linear", "credit_decay_steps": 2},
        {"method": "opsd"},
        {"method": "sdpo", "steps_per_generation": 4},
    ],
    ids=str,
)
def test_synced_copies_are_taken_at_their_steps(fields: dict[str, Any], model: Path, tmp_path: Path) -> None:
    assert run(model, tmp_path, **fields)[1] == [1, 4, 7, 10]


def test_a_resumed_run_copies_at_the_same_steps(model: Path, tmp_path: Path) -> None:
    """From step 5, in the middle of a generated batch."""
    fields = {"steps_per_generation": 4, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 5}
    whole, _ = run(model, tmp_path, **fields)
    checkpoint = tmp_path / "run" / "checkpoint-5"
    resumed, steps = run(model, tmp_path / "again", str(checkpoint), **fields)
    assert steps == [7, 10]
    pairs = zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_null_control_is_made_by_the_generation_after_it_is_due(model: Path, tmp_path: Path) -> None:
    trainer = build(model, tmp_path, steps_per_generation=4, max_steps=12, null_control_every=3, trace_groups=0)
    trainer.train()
    logged = [entry["step"] for entry in trainer.state.log_history if "credit/null_median" in entry]
    assert logged == [1, 5, 9]


def test_what_is_due_is_done_once() -> None:
    assert [step for step in range(1, 14) if is_due(step, 3, 1)] == [1, 4, 7, 10, 13]
    assert [step for step in range(1, 22, 2) if is_due(step, 5, 2)] == [1, 7, 11, 17, 21]
    assert not any(is_due(step, 0, 2) for step in range(1, 9))
