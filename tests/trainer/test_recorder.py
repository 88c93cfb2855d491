"""Records say what each prompt told the teacher, and what each token was scored with."""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from cepo.reports.traces import TraceWriter, read_traces
from cepo.trainer.recorder import StepRecorder
from tests.trainer.conftest import MakeTrainer


def test_records_name_their_prompts(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="cepo", evidence_dead_zone="0.05", reference_minus="worst")
    trainer.train()
    records = list(read_traces(trainer.args.run_folder / "traces"))
    assert any(record.logps for record in records)
    for record in records:
        assert (record.dead_zone, record.clip) == (0.05, trainer.credit.credit_clip)
        assert list(record.told) == ["plus", "minus"]
        plus, minus = record.told.values()
        assert (plus.texts, plus.source, plus.is_own) == ((record.gold,), "gold", False)
        assert (minus.source == "group") == bool(minus.texts)
        if record.logps:
            assert set(record.logps) == {"student", "plus", *(["minus"] if minus.texts else [])}


def test_a_method_without_credit_tells_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="grpo")
    trainer.train()
    for record in read_traces(trainer.args.run_folder / "traces"):
        assert (record.told, record.logps, record.evidence, record.clip) == ({}, {}, None, 0.0)
        assert record.advantage == record.base_advantage


def test_what_cannot_be_recorded_ends_the_records_and_not_the_run(
    make_text_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_text_trainer(method="cepo", max_steps=3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cepo.reports.traces.TraceWriter.write_step", full)
    with warnings.catch_warnings(record=True) as caught:
        trainer.train()
    said = [str(warning.message) for warning in caught if "could not be recorded" in str(warning.message)]
    assert len(said) == 1
    assert re.match(r"the credit of step 1 could not be recorded, .*the run goes on: OSError: .*No space", said[0])
    assert trainer.state.global_step == 3


WRITE_STEP = TraceWriter.write_step


class Calling(TrainerCallback):
    """Calls back at the end of each step, or once a checkpoint is whole."""

    def __init__(self, event: str, call: Callable[[int], None]) -> None:
        setattr(self, event, lambda _args, state, *_others, **_kwargs: call(state.global_step))


def test_a_step_does_not_wait_for_its_records(make_text_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = threading.Event()

    def slow(self: TraceWriter, *given: Any) -> None:
        assert trained.wait(timeout=60), "the step waits for its own records"
        WRITE_STEP(self, *given)

    monkeypatch.setattr("cepo.reports.traces.TraceWriter.write_step", slow)
    trainer = make_text_trainer(method="cepo", max_steps=2)
    trainer.add_callback(Calling("on_step_end", lambda _step: trained.set()))
    trainer.train()
    steps = [record.step for record in read_traces(trainer.args.run_folder / "traces")]
    assert set(steps) == {1, 2}
    assert steps == sorted(steps)


def test_a_whole_checkpoint_has_its_steps_records(
    make_text_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: TraceWriter, *given: Any) -> None:
        time.sleep(0.5)  # longer than what is left of a step
        WRITE_STEP(self, *given)

    monkeypatch.setattr("cepo.reports.traces.TraceWriter.write_step", slow)
    monkeypatch.setattr("cepo.trainer.internals.mark_complete", lambda folder: marked.append(recorded(folder.parent)))
    marked: list[set[int]] = []

    def recorded(folder: Path) -> set[int]:
        return {record.step for record in read_traces(folder / "traces")}

    make_text_trainer(method="cepo", max_steps=2, save_strategy="steps", save_steps=1).train()
    assert marked == [{1}, {1, 2}]


def test_the_last_step_is_recorded_when_train_returns(
    make_text_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def slow(self: TraceWriter, records: Any, *given: Any) -> None:
        time.sleep(1.0)
        WRITE_STEP(self, records, *given)
        done.append(records[0].step)

    monkeypatch.setattr("cepo.reports.traces.TraceWriter.write_step", slow)
    make_text_trainer(method="cepo", max_steps=1).train()
    assert done == [1]


def test_processes_agree_on_whether_a_run_records(
    make_text_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main one's full disk must not make it leave out a gathering that the others wait in."""
    trainer = make_text_trainer(method="cepo", max_steps=2, credit_decay_steps=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    gathered: list[bool] = []
    monkeypatch.setattr("cepo.reports.traces.TraceWriter.write_step", full)
    monkeypatch.setattr(StepRecorder, "choose", lambda self, groups, step: gathered.append(self.wanted) or [0])
    with warnings.catch_warnings(record=True):
        trainer.train()
    assert gathered == [True, True]
