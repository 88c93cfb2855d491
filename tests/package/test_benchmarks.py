"""The instruments of `benchmarks/` name things of the product: what is renamed there must be renamed in them."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs.small import write_model
from tests.trainer.small_text import build

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_it_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_a_newcomers_commands_are_read_and_the_problems_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    """What docs/first_run.md tells is typed by the benchmark; here all but the training of it."""
    first_run = importlib.import_module("first_run")
    first_run.write_problems(tmp_path / "problems")
    told = (FOLDER.parent / "docs" / "first_run.md").read_text()
    assert [words for words in first_run.TYPED if f"cepo {words}" not in told] == []
    assert (tmp_path / "problems" / "train.jsonl").read_text().splitlines()[0] in told
    first_run.typed(first_run.TYPED[0], tmp_path)
    recipe = (tmp_path / "cepo.yaml").read_text()
    assert "method: decisive" in recipe
    assert "eval_split: test" in recipe


def test_every_phase_of_a_step_is_measured(tmp_path: Path) -> None:
    """A function that the trainer no longer calls by its name would be a phase of zero seconds, and no error."""
    phases = importlib.import_module("phases")
    write_model(tmp_path / "model")
    trainer = build(
        tmp_path / "model", tmp_path, max_steps=1, trace_groups=1, output_dir=str(tmp_path / "run"), method="cepo"
    )
    clock = phases.StepClock()
    with clock.installed():
        trainer.train()
    clock.step_ended()
    assert [phase for phase in phases.PHASES if not clock.steps[0][phase]] == []


def test_what_was_timed_is_itself_again() -> None:
    phases = importlib.import_module("phases")
    before = [getattr(owner, name) for owner, name, _ in phases.POINTS]
    with phases.StepClock().installed():
        assert [getattr(owner, name) for owner, name, _ in phases.POINTS] != before
    assert [getattr(owner, name) for owner, name, _ in phases.POINTS] == before


# --- first_gpu_run.sh -----------------------------------------------------------------------------------------


def written(folder: Path, steps: list[dict[str, Any]], evidence: float = 1e-5, code: int = 0) -> dict[str, Any]:
    """What a run of `cepo` leaves, and what is made of it."""
    measured = importlib.import_module("measured")
    (folder / "cepo").mkdir(parents=True)
    (folder / "doctor.txt").write_text("ok   probe          all is well\n")
    (folder / "evidence.json").write_text(json.dumps({"largest_difference_nats": {"float32": evidence}}))
    (folder / "cepo.txt").write_text("last words\n")
    (folder / "cepo.json").write_text(json.dumps({"code": code}))
    (folder / "cepo" / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    code = measured.verdict(folder, ["cepo"])
    found = json.loads((folder / "verdict.json").read_text())
    assert bool(found["faults"]) == bool(code)
    return found


def test_the_verdict_of_a_first_run_says_what_went_wrong(tmp_path: Path) -> None:
    good = {"step": 1, "loss": 0.1, "grad_norm": 1.0, "credit/rows_scored": 0.5, "phase/credit_s": 0.2}
    assert written(tmp_path / "good", [good])["faults"] == []
    cases = {
        "no row got credit": [good, good | {"step": 2, "credit/rows_scored": 0.0}],
        "no row got": [],
        "loss is nan": [good | {"loss": math.nan}],
        "without finite log-probs": [good | {"credit/rows_nonfinite": 0.5}],
    }
    for place, (words, steps) in enumerate(cases.items()):
        [fault] = written(tmp_path / str(place), steps)["faults"]
        assert words in fault
    [fault] = written(tmp_path / "evidence", [good], evidence=0.1)["faults"]
    assert "differs from the plain forward's by 1.0e-01 nats" in fault
    failed = written(tmp_path / "failed", [], code=1)
    assert "cepo failed" in failed["faults"][0]
    assert failed["methods"]["cepo"]["last_words"] == ["last words"]


@pytest.mark.long
def test_the_first_run_comes_to_a_verdict_without_a_gpu(tmp_path: Path) -> None:
    environment = {**os.environ, "MODEL": "tiny", "VLLM": "false", "METHODS": "grpo cepo", "PYTHON": sys.executable}
    done = subprocess.run(
        [FOLDER / "first_gpu_run.sh", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "verdict.json").read_text())
    assert found["faults"] == []
    assert set(found["evidence"]["largest_difference_nats"]) >= {"float32", "tf32", "bfloat16"}
    for method, one in found["methods"].items():
        assert one["peak_host_bytes"] > 2**28
        assert [step["step"] for step in one["steps"]] == [1, 2]
        assert all(step["phase/credit_s"] > 0 for step in one["steps"] if method == "cepo")


def test_the_first_run_asks_for_a_gpu(tmp_path: Path) -> None:
    done = subprocess.run([FOLDER / "first_gpu_run.sh", tmp_path], env={"PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, "MODEL=tiny VLLM=false" in done.stderr) == (2, True)
