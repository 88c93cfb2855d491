"""Result files that lmms-eval 0.7.3 wrote (make_results.py), and what is not one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cepo.errors import RecordError
from cepo.lab.suite.parse import Measured, find_results, parse_results
from cepo.lab.suite.tasks import PAPER

RESULTS = Path(__file__).parent / "results"
BY_TASK = {benchmark.task: benchmark for benchmark in PAPER.benchmarks}


@pytest.mark.parametrize(
    ("task", "percent"),
    [
        ("dynamath_reasoning", 50.0),
        ("logicvista_reasoning", 0.0),
        ("mathvision_testmini", 12.5),  # already a percentage in the file
        ("mmmu_val", 0.0),
        ("wemath_testmini_reasoning", 50.0),
    ],
)
def test_the_papers_five(task: str, percent: float) -> None:
    assert parse_results(RESULTS / f"{task}.json", BY_TASK[task], 64) == Measured(percent, 8, 8)


def changed(folder: Path, change) -> Path:
    content = json.loads((RESULTS / "mathvision_testmini.json").read_text())
    change(content)
    file = folder / "x_results.json"
    file.write_text(json.dumps(content))
    return file


KEY = "mathvision_standard_eval,none"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["results"]["mathvision_testmini"].pop(KEY), "has no metric 'mathvision_standard_eval,none'"),
        (lambda c: c["results"]["mathvision_testmini"].update({KEY: "N/A"}), "is 'N/A', expected a number"),
        (lambda c: c["results"]["mathvision_testmini"].update({KEY: True}), "is True"),
        (lambda c: c["results"]["mathvision_testmini"].update({KEY: float("nan")}), "is nan"),
        (lambda c: c["results"]["mathvision_testmini"].update({KEY: 100.5}), "from 0 to 100"),
        (lambda c: c["results"].clear(), "no task 'mathvision_testmini'; it has none"),
        (lambda c: c.pop("results"), "no 'results'"),
        (lambda c: c.pop("n-samples"), "no 'n-samples'"),
        (lambda c: c["n-samples"]["mathvision_testmini"].update(effective=0), "1 <= effective <= original"),
        (
            lambda c: c["configs"]["mathvision_testmini"]["generation_kwargs"].update(max_new_tokens=16384),
            "max_new_tokens=16384, asked for 64",
        ),
    ],
)
def test_what_does_not_say_it_is_refused(change, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=words):
        parse_results(changed(tmp_path, change), BY_TASK["mathvision_testmini"], 64)


def test_a_fraction_above_one_is_off_its_scale(tmp_path: Path) -> None:
    content = json.loads((RESULTS / "mmmu_val.json").read_text())
    content["results"]["mmmu_val"]["mmmu_acc,none"] = 41.2
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"is 41\.2, expected a number from 0 to 1"):
        parse_results(tmp_path / "r.json", BY_TASK["mmmu_val"], 64)


def test_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text((RESULTS / "mmmu_val.json").read_text()[:700])
    with pytest.raises(RecordError, match="is not JSON"):
        parse_results(file, BY_TASK["mmmu_val"], 64)


def test_the_newest_file_counts(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="wrote no results"):
        find_results(tmp_path)
    for index, name in enumerate(("b", "a")):
        file = tmp_path / "m" / f"{name}_results.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
        os.utime(file, (index, index))
    assert find_results(tmp_path).name == "a_results.json"
