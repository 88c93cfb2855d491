"""Records refuse what does not add up, and read what an older cepo wrote."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest

from cepo.errors import RecordError
from cepo.glossary import Told
from cepo.reports.records import SCHEMA
from cepo.reports.traces import TRACE_FILE, CreditRecord, TraceWriter, read_traces
from tests.reports.test_traces import record, written

SCHEMA_1 = Path(__file__).parents[1] / "fixtures" / "trace_schema_1"
"""Of a run of an older cepo: a dead zone of 0.3 nats, r- by the policy `worst`, lambda 0 from step 4."""


def test_lists_that_do_not_align_are_named() -> None:
    with pytest.raises(ValueError, match="step 1, row 0: evidence has 2 entries for 3 tokens"):
        record(evidence=[0.0, 1.0])
    with pytest.raises(ValueError, match="token_ids has 1 entries for 3 tokens"):
        record(token_ids=[1])
    with pytest.raises(ValueError, match="logps of 'skill' has 1 entries for 3 tokens"):
        record(logps={"skill": [1.0]})


def schema_1() -> list[CreditRecord]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(read_traces(SCHEMA_1))


def test_a_trace_of_schema_1_is_read() -> None:
    right, alone, wrong, unscored = schema_1()
    assert right.told == {"plus": Told(("40",), "gold"), "minus": Told(("20",), "group")}
    assert alone.told == {"plus": Told(("40",), "gold"), "minus": Told((), "rlsd")}
    assert {name: values[19] for name, values in right.logps.items()} == {
        "student": -0.00588,
        "plus": -0.00068,
        "minus": -3.80693,
    }
    assert list(alone.logps) == ["student", "plus"]
    assert (wrong.answer, wrong.correct, wrong.strength, wrong.clip, wrong.dead_zone) == ("47", False, 0.5, 0.5, 0.0)
    assert wrong.weight is not None
    assert wrong.weight[11] == 1.0, "the run's dead zone, which the log-probs alone do not know"
    assert (unscored.logps, unscored.evidence, unscored.advantage) == ({}, None, -0.72443)


def test_schema_1_knew_its_own_answer_by_its_text(tmp_path: Path) -> None:
    old = (SCHEMA_1 / TRACE_FILE).read_text()
    own = old.replace('"answer":"47"', '"answer":"80"').replace('"r_minus":["20"]', '"r_minus":["40"]')
    (tmp_path / TRACE_FILE).write_text(own.replace('"minus_source":"rlsd"', '"minus_source":"unused"'))
    right, alone, wrong, _ = read_traces(tmp_path)
    assert [entry.told["minus"].is_own for entry in (right, wrong)] == [False, True]
    assert list(alone.told) == ["plus"]


def test_a_run_resumes_on_a_trace_of_schema_1(tmp_path: Path) -> None:
    shutil.copytree(SCHEMA_1, tmp_path, dirs_exist_ok=True)
    TraceWriter(tmp_path, resume_step=1).write_step([record(2)])
    assert list(read_traces(tmp_path)) == [*schema_1()[:3], record(2)]
    assert f'"schema":{SCHEMA},' in (tmp_path / TRACE_FILE).read_text().splitlines()[0]


def test_what_the_writer_did_not_know_has_its_default_and_what_we_do_not_know_is_left(tmp_path: Path) -> None:
    written(tmp_path, 1)
    path = tmp_path / TRACE_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[1:]:
        line["later"] = {"a": 1}
        for name in ("dead_zone", "told", "weight", "gold"):
            del line[name]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(read_traces(tmp_path)) == [
        record(1, row, dead_zone=0.0, told={}, weight=None, gold=None) for row in range(2)
    ]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"kind":"record"', '"kind":"rec', "line 2 is damaged"),
        ('"kind":"record"', '"sort":"record"', "line 2 is damaged: it is no object with a kind"),
        ('"reward":1.0', '"price":1.0', "line 2 is damaged: reward is missing"),
        ('"reward":1.0', '"reward":"much"', "line 2 is damaged: reward: expected a number, got 'much'"),
        ('"reward":1.0', '"reward":[[1]]', "reward: expected a number, got "),
        ('"step":1', '"step":1.5', "step: expected a whole number, got 1.5"),
        ('"correct":true', '"correct":"yes"', "correct: expected true or false, got 'yes'"),
        ('"method":"cepo"', '"method":null', "method: expected text, got None"),
        ('"evidence":[', '"evidence":[null,', "evidence: expected a number, got None"),
        ('"logps":{"student":[', '"logps":{"student":1,"x":[', "logps: expected a list, got 1"),
        ('"told":{"plus":{', '"told":{"plus":3,"x":{', "told: expected an object, got 3"),
        ('"form":"answer"', '"form":"ode"', "told: form: expected one of answer, rationale, feedback, got 'ode'"),
        ('"tokens":["x","=","3"]', '"tokens":["x"]', "entries for 1 tokens"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, old: str, new: str, part: str) -> None:
    written(tmp_path, 1)
    path = tmp_path / TRACE_FILE
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordError, match=part):
        list(read_traces(tmp_path))
