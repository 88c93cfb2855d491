"""What a report says first: a sentence, two rollouts, the first wrong step; and while a run trains, where it is."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cepo.chain import Chain
from cepo.cli import main
from cepo.cli.report import watch
from cepo.reports.page import write_report
from cepo.reports.run_data import RunData, load_run
from cepo.reports.steps import first_wrong
from cepo.reports.story import headline, picked, progress, seconds_text
from cepo.runs.lock import has_died
from tests.reports.conftest import MakeRun, record, unscored

CHAIN = Chain.parse("3+1+8-3")  # 4, 2, 9
RIGHT = ["so ", "4", ", ", "then ", "2", ", ", "9", ". ", "\\boxed{", "9", "}"]
WRONG = ["so ", "4", ", ", "then ", "7", ", ", "4", ". ", "\\boxed{", "4", "}"]
ID = "chain/3+1+8-3#44"


def told(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"problems": 500, "samples": 1, "overall": {"n": 500, "mean": mean, "low": low, "high": high}}


def summary(**changes: Any) -> dict[str, Any]:
    difference = {"mean": 0.468, "low": 0.414, "high": 0.522, "p": 1e-9}
    evaluated = {"before": told(0.306, 0.265, 0.347), "after": told(0.774, 0.737, 0.811), "difference": difference}
    return {"method": "decisive", "state": "finished", "steps": 120, "train_seconds": 71.6, **evaluated, **changes}


def test_the_headline_says_what_was_measured() -> None:
    run = RunData("run", summary=summary(), state="finished", step=120)
    assert headline(run, 0) == (
        "decisive raised accuracy on 500 held-out problems from 30.6% [26.5%, 34.7%] to 77.4% [73.7%, 81.1%] "
        "(+46.8 [+41.4, +52.2] points) in 120 steps and 72 s; nothing is unusual."
    )
    same = summary(difference={"mean": 0.01, "low": -0.02, "high": 0.04, "p": 0.5})
    assert "shows no difference in accuracy on 500" in headline(replace(run, summary=same), 1)
    assert headline(replace(run, summary=same), 1).endswith("one thing is unusual.")
    worse = summary(difference={"mean": -0.1, "low": -0.2, "high": -0.05, "p": 0.01})
    assert "lowered accuracy" in headline(replace(run, summary=worse), 2)


def test_the_headline_of_a_run_that_was_not_evaluated_or_has_not_ended() -> None:
    rewards = {"reward": [[s, s / 100] for s in range(1, 101)]}
    run = RunData("run", settings={"method": "cepo"}, metrics=rewards, state="finished", step=100)
    assert "cepo trained for 100 steps: the mean reward was 0.055 at first and is 0.955; nothing was" in headline(
        run, 0
    )
    assert "cepo is training: the mean reward was" in headline(replace(run, state="training"), 0)
    assert "cepo was stopped after 100 steps" in headline(replace(run, state="stopped"), 0)
    assert "no step has ended yet" in headline(RunData("run"), 0)
    curve = [[0.0, 0.285, 0.227, 0.351], [40.0, 0.5, 0.431, 0.569]]
    now = headline(replace(run, state="training", curve=curve), 0)
    assert "held-out accuracy was 28.5% [22.7%, 35.1%] at first and is 50.0% [43.1%, 56.9%] at step 40" in now
    assert now.endswith("nothing is unusual so far.")
    once = headline(replace(run, state="training", curve=curve[:1]), 0)
    assert "held-out accuracy is 28.5% [22.7%, 35.1%] at step 0;" in once


def test_the_first_wrong_step_is_known_where_a_solver_knows_the_problem() -> None:
    assert first_wrong(record(tokens=WRONG, problem_id=ID)) == 4
    assert first_wrong(record(tokens=RIGHT, problem_id=ID)) is None
    tokens = [
        "open by A=",
        "40",
        ". then by B a ",
        "line",
        " appears. makes ",
        "180-40=",
        "150",
        ". \\boxed{",
        "150",
        "}",
    ]
    figure = record(tokens=tokens, problem_id="figures/40>line#1")
    assert first_wrong(figure) == 6
    for other in ("p", "chain/of events", "chain/", "figures/4>x", "geometry/7"):
        assert first_wrong(record(tokens=WRONG, problem_id=other)) is None


def test_the_two_rollouts_are_of_one_group_and_tell_most(make_run: MakeRun) -> None:
    known = {"problem_id": ID, "group": 1}
    rows = [
        record(0, correct=True), record(1),
        record(2, tokens=WRONG, correct=True, **known), record(3, tokens=RIGHT, correct=True, **known),
        record(4, tokens=RIGHT, **known), record(5, tokens=WRONG, **known),
        record(8, tokens=WRONG, answer=None, **known),
        unscored(6, correct=True, step=2, group=0), unscored(7, step=2, group=0),
    ]  # fmt: skip
    run = load_run(make_run(records=rows))
    assert run.first_wrong == {2: 4, 5: 4, 6: 4}
    assert [run.rollouts[place].row for place in picked(run)] == [3, 5]
    apart = load_run(make_run("apart", [record(0, correct=True, group=0), record(1, group=1), record(2, correct=None)]))
    assert [apart.rollouts[place].row for place in picked(apart)] == [0, 1]
    assert picked(load_run(make_run("none", []))) == []


def training(make_run: MakeRun, name: str = "run") -> Path:
    """A run of `cepo train` in its third step of thirty."""
    folder = make_run(name)
    (folder / "summary.json").unlink()
    (folder / "identity.json").write_text("{}")
    (folder / "config.yaml").write_text("method: cepo\nmax_steps: 30\n")
    lines = [{"step": s, "reward": 0.1, "step_time": 2.0, "epoch": 0.1 * s} for s in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_page_says_where_a_run_is(make_run: MakeRun, tmp_path: Path) -> None:
    folder = training(make_run)
    run = load_run(folder)
    assert (run.state, run.step, run.total, run.notes) == ("training", 3, 30, [])
    assert progress(run) == "step 3 of 30, about 54 s left"
    (folder / "config.yaml").write_text("max_steps: -1\nnum_train_epochs: 3.0\n")
    assert load_run(folder).total == 30
    (folder / "summary.json").write_text(json.dumps(summary(steps=2)))
    assert load_run(folder).state == "training", "it ended at step 2 and was taken up again"
    (folder / "summary.json").write_text(json.dumps(summary(steps=3)))
    assert load_run(folder).state == "finished"
    assert progress(load_run(folder)) == ""
    assert [seconds_text(s) for s in (45, 700, 12_000)] == ["45 s", "12 min", "3 h 20 min"]


def test_a_run_before_its_first_step_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("method: cepo\nmax_steps: 30\n")
    run = load_run(tmp_path)
    assert progress(run) == "step 0 of 30"
    assert run.notes == ["the run has begun, and no step has ended: it may be evaluating first"]


def test_evaluations_are_points_with_intervals(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "summary.json").write_text(json.dumps(summary(steps=3)))
    assert load_run(folder).curve == [[0.0, 0.306, 0.265, 0.347], [3.0, 0.774, 0.737, 0.811]]
    (folder / "curve.jsonl").write_text('{"step": 0, "accuracy": 0.5, "problems": 100}\n{"step": 1, "acc')
    run = load_run(folder)
    assert [[round(value, 3) for value in point] for point in run.curve] == [[0, 0.5, 0.404, 0.596]]
    assert any("curve.jsonl, line 2" in note for note in run.notes)


def test_the_page_refreshes_itself_only_while_it_is_watched_and_trains(make_run: MakeRun, tmp_path: Path) -> None:
    folder, out = training(make_run), tmp_path / "page.html"
    for every, says in ((10.0, True), (None, False)):
        write_report([folder], out, every)
        assert ('"refresh":10.0' in out.read_text()) == says
    (folder / "summary.json").write_text(json.dumps(summary(steps=3)))
    write_report([folder], out, 10.0)
    assert '"refresh"' not in out.read_text()


def test_a_remark_is_linked_to_its_paragraph(make_run: MakeRun, tmp_path: Path) -> None:
    folder, out = training(make_run), tmp_path / "page.html"
    lines = [{"step": s, "credit/groups_undecided": 0.9} for s in range(1, 31)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report([folder], out)
    (remark,) = json.loads(out.with_suffix(".json").read_text())["runs"][0]["unusual"]
    assert remark["name"] == "Groups undecided"
    assert re.fullmatch(r"file:///.+/report\.(md|html)#groups-undecided", remark["link"])
    assert Path(remark["link"].removeprefix("file://").partition("#")[0]).is_file()


def test_watch_follows_a_run_to_its_end(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = training(make_run), tmp_path / "page.html"
    runs = write_report([folder], out, 7.0)

    def steps() -> Iterator[None]:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 30, "reward": 0.4}\n')
        yield
        yield  # nothing new
        (folder / "summary.json").write_text(json.dumps(summary(steps=30)))
        yield

    training_goes_on, pauses = steps(), []
    monkeypatch.setattr(time, "sleep", lambda seconds: (pauses.append(seconds), next(training_goes_on)))
    watch([folder], out, 7.0, runs)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].removeprefix("run: ") for line in said] == [
        "step 3 of 30, about 54 s left", "step 30 of 30, about 0 s left", "has finished at step 30"
    ]  # fmt: skip
    assert len(pauses) == 3
    assert min(pauses) >= 7.0
    assert "raised accuracy on 500" in json.loads(out.with_suffix(".json").read_text())["runs"][0]["headline"]


def test_watch_ends_when_the_training_has_died(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = training(make_run), tmp_path / "page.html"
    dead = subprocess.Popen(["true"])
    dead.wait()
    holder = {"host": socket.gethostname(), "pid": os.getpid()}
    (folder / "run.lock").write_text(json.dumps(holder))
    alive_then_dead = iter([os.getpid(), dead.pid])
    monkeypatch.setattr(
        time, "sleep", lambda _: (folder / "run.lock").write_text(json.dumps({**holder, "pid": next(alive_then_dead)}))
    )
    watch([folder], out, 7.0, write_report([folder], out, 7.0))
    assert capsys.readouterr().err.splitlines()[-1] == "cepo: run: its process is gone at step 3"
    assert '"refresh"' not in out.read_text(), "a page of a dead run does not read itself again"
    for elsewhere in ({**holder, "host": "another", "pid": dead.pid}, {}):
        (folder / "run.lock").write_text(json.dumps(elsewhere))
        assert not has_died(folder)


def test_watch_refuses_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "not" / "there"):
        assert main(["report", str(folder), "--watch"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{folder} is not a run folder" in line
        assert "Give the output_dir of a training that has begun" in line
    assert not (tmp_path / "not").exists()
    assert main(["report", str(tmp_path), "--watch", "0"]) == 2
    assert "at least 1, got 0" in capsys.readouterr().err
