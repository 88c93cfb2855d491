"""Records say what each prompt told the teacher, and what each token was scored with."""

from __future__ import annotations

import re
import warnings

import pytest

from cepo.reports.traces import read_traces
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

    monkeypatch.setattr("cepo.trainer.recorder.TraceWriter.write_step", full)
    with warnings.catch_warnings(record=True) as caught:
        trainer.train()
    said = [str(warning.message) for warning in caught if "could not be recorded" in str(warning.message)]
    assert len(said) == 1
    assert re.match(r"the credit of step 1 could not be recorded, .*the run goes on: OSError: .*No space", said[0])
    assert trainer.state.global_step == 3
