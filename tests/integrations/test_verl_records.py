"""The run folder of a verl training, without verl: records, metrics, settings; and what becomes of it on a restart."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cepo.answers import BOXED
from cepo.cli import main
from cepo.credit.groups import row_references
from cepo.credit.metrics import credit_metrics, step_sums
from cepo.credit.records import RecordMaker
from cepo.credit.step import Asking, StepCredit, assign_credit, credited_rows, logps_by_prompt, plan_scoring
from cepo.integrations.verl_records import RunRecords, run_settings
from cepo.integrations.verl_rows import Row, Tracing, credit_row, graded_groups, read_settings
from cepo.reports.run_data import load_run
from cepo.reports.traces import read_traces
from tests.integrations.test_verl_rows import TOKENIZER, algorithm, rows_of

WIDTH = 3
RULE, CREDIT = read_settings(algorithm(reference_minus="worst"), "vanilla")
MASK_BT = torch.tensor([[True, True, False]]).repeat(7, 1)
CONFIG: dict[str, Any] = {
    "actor_rollout_ref": {
        "model": {"path": "Qwen/Qwen3-VL-2B"},
        "actor": {"optim": {"lr": 1e-6}},
        "rollout": {"n": 3},
    },
    "data": {"train_files": ["a.parquet", "b.parquet"], "seed": None},
    "algorithm": algorithm(preset="paper"),
}


def records(folder: Path, **tracing: Any) -> RunRecords:
    settings = run_settings(CONFIG, RULE.name, CREDIT, BOXED, 40)
    return RunRecords(folder, Tracing(**tracing), 0, RecordMaker(TOKENIZER), settings)


def credited(number: int, rows: dict[int, Row]) -> StepCredit:
    """A step of two groups, of which one is decided; log-probs are made up."""
    groups = graded_groups(rows)
    references = row_references(groups, RULE.references, CREDIT.reference_policy(0), number)
    given = [credit_row(index, row, groups.group_of(index)) for index, row in sorted(rows.items())]
    chosen = credited_rows(RULE, given, groups, references)
    asking = Asking(CREDIT.teacher_prompts(TOKENIZER, str))
    requests = plan_scoring(chosen, references, RULE, asking, with_student=[*rows])
    logps = logps_by_prompt(requests, -torch.rand(len(requests), WIDTH), references)
    advantage_B = torch.tensor([rows[row].advantage if row in rows else 0.0 for row in range(7)])
    asked = StepCredit(number, RULE, CREDIT.knobs(number), groups, references)
    return assign_credit(asked, chosen, logps, advantage_B, MASK_BT)


def train(run: RunRecords, steps: range, rows: dict[int, Row] | None = None) -> None:
    rows = rows_of() if rows is None else rows
    for number in steps:
        step = credited(number, rows)
        advantage_B = torch.tensor([rows[row].advantage if row in rows else 0.0 for row in range(7)])
        traced = run.choose(step.groups, number)
        run.write(number, lambda step=step, traced=traced: run.of_rows(step, rows, MASK_BT, traced))
        metrics = {"critic/score/mean": 0.2, "actor/entropy": 1.5, "timing_s/step": 2.0, "perf/mfu/actor": 0.4}
        nothing = {"credit/lambda": step.knobs.strength, "actor/pg_loss": float("nan"), "reward/late": "?"}
        run.log(number, metrics | nothing | credit_metrics(step_sums(step, advantage_B, MASK_BT)))


def test_the_folder_is_a_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = records(tmp_path / "cepo")
    train(run, range(1, 3))
    run.finish()
    found = load_run(tmp_path / "cepo")
    assert (found.state, found.step, found.total, found.notes) == ("finished", 2, 40, [])
    assert found.summary == {"method": "cepo", "state": "finished", "steps": 2, "train_seconds": 4.0}
    assert found.settings == {
        "method": "cepo", "preset": "paper", "model": "Qwen/Qwen3-VL-2B", "data": "a.parquet, b.parquet",
        "learning_rate": 1e-6, "max_steps": 40, "num_generations": 3,
    }  # fmt: skip
    assert found.metrics["reward"] == [[1.0, 0.2], [2.0, 0.2]]
    assert found.metrics["credit/lambda"] == [[1.0, 0.5], [2.0, 0.48]]
    assert found.metrics["credit/rows_scored"] == [[1.0, 0.4], [2.0, 0.4]]
    assert {"entropy", "credit/evidence_abs_mean_pos", "credit/groups_undecided"} <= found.metrics.keys()
    assert not {"perf/mfu/actor", "loss", "reward/late"} & found.metrics.keys()
    assert len(found.rollouts) == 10
    assert main(["report", str(tmp_path / "cepo")]) == 0
    assert "metrics, 10 rollouts" in capsys.readouterr().out
    assert main(["show", str(tmp_path / "cepo"), "--row", "0"]) == 0


def test_records_hold_what_was_trained(tmp_path: Path) -> None:
    """Decided groups first; the student's log-probs stand beside the rule's."""
    run, rows = records(tmp_path, trace_groups=1), rows_of()
    train(run, range(1, 2), rows)
    run.flush()
    found = {record.row: record for record in read_traces(tmp_path / "traces")}
    step = credited(1, rows)
    assert found.keys() == {0, 3, 6}
    assert len({record.problem_id for record in found.values()}) == 1
    assert step.rows == [0, 3], "row 6 has no advantage"
    for row in (0, 3):
        record = found[row]
        assert (record.token_ids, record.said_by_tools) == ([2, 3], [])
        assert set(record.logps) == {"student", "plus", "minus"}
        assert isinstance(record.advantage, list)
        assert (record.base_advantage, record.strength) == (rows[row].advantage, 0.5)
        assert record.told["plus"].texts == ("7",)
    assert (found[6].advantage, found[6].logps, found[6].evidence) == (0.0, {}, None)
    assert (found[0].correct, found[3].answer, found[0].prompt_text) == (True, "8", "What is x?")


def test_a_tools_tokens_are_told_apart(tmp_path: Path) -> None:
    run, rows = records(tmp_path, trace_groups=1), rows_of()
    step, mask_BT = credited(1, rows), MASK_BT.clone()
    mask_BT[:, 0] = False
    (made, *_), _ = run.of_rows(step, rows, mask_BT, [0])
    assert made.said_by_tools == [[0, 1]]


def test_a_resumed_run_keeps_what_its_checkpoint_had(tmp_path: Path) -> None:
    first = records(tmp_path)
    train(first, range(1, 5))
    first.flush()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rew')  # cut short by the kill
    again = records(tmp_path)
    train(again, range(3, 4))  # from the checkpoint of step 2
    again.flush()
    assert [record.step for record in read_traces(tmp_path / "traces")] == [*[1] * 5, *[2] * 5, *[3] * 5]
    logged = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3]
    afresh = records(tmp_path)
    train(afresh, range(1, 2))
    afresh.flush()
    assert {record.step for record in read_traces(tmp_path / "traces")} == {1}
    assert (tmp_path / "traces" / "credit.old.jsonl").is_file()


def test_images_of_the_problems_are_kept(tmp_path: Path) -> None:
    """Problems with one text and unlike images are two."""
    rows = {}
    for index, row in rows_of().items():
        shade = 10 if row.uid == "a" else 200
        parts = [{"type": "image", "image": Image.new("RGB", (8, 8), (shade, 0, 0))}, {"type": "text", "text": "x?"}]
        rows[index] = replace(row, prompt=[{"role": "system", "content": "s"}, {"role": "user", "content": parts}])
    run, step = records(tmp_path), credited(1, rows_of())
    run.write(1, lambda: run.of_rows(step, rows, MASK_BT, list(rows)))
    run.flush()
    found = list(read_traces(tmp_path / "traces"))
    assert len({record.image for record in found}) == len({record.problem_id for record in found}) == 2
    assert all((tmp_path / "traces" / str(record.image)).is_file() for record in found)


def test_what_cannot_be_recorded_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = records(tmp_path / "file" / "below")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(run, range(1, 4))
        run.finish()
    words = [str(warning.message) for warning in said]
    assert sum("nothing more is logged there; the run goes on" in word for word in words) == 1
    assert sum("credit traces end here" in word or "could not be recorded" in word for word in words) == 1
    assert len(words) == 2


def test_an_error_in_making_records_ends_them_alone(tmp_path: Path) -> None:
    run = records(tmp_path)

    def fails() -> Any:
        raise KeyError("raw_prompt")

    with pytest.warns(UserWarning, match=r"the credit of step 1 could not be recorded, .*the run goes on: KeyError"):
        run.write(1, fails)
    assert not run.is_open
    run.log(1, {"critic/score/mean": 0.5})
    assert load_run(tmp_path).metrics == {"reward": [[1.0, 0.5]]}


def test_none_are_recorded_where_none_are_wanted(tmp_path: Path) -> None:
    run = records(tmp_path, trace_groups=0)
    assert not run.is_open
    assert run.choose(credited(1, rows_of()).groups, 1) == []
