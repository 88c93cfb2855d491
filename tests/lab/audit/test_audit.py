"""The whole audit: on the embedded model in seconds, through the command line, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest
from datasets import Dataset

from cepo.cli import main
from cepo.data.datasets import DataSpec
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.lab.audit.findings import findings
from cepo.lab.audit.ledger import Cell
from cepo.lab.audit.problems import load_problems
from cepo.lab.audit.run import run_audit
from cepo.lab.audit.settings import AuditSettings, quick
from cepo.lab.audit.table import as_csv
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.trainer.conftest import embedded

SMALL = ["--quick", "--method", "rlsd", "cepo-own", "cepo-marginal", "--max-new-tokens", "48", "--seed", "2"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["audit", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum("error" in line for line in lines) == 1, lines
    return lines[-1]


def test_a_quick_audit_of_the_embedded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "tiny", *SMALL, "--out", str(tmp_path)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert (tmp_path / "audit.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "audit.md").read_text()
    for section in ("Findings", "Sampled rollouts", "Worked solutions", "Monte-Carlo", "Irrelevant", "Sensitivity"):
        assert section in text
    content = json.loads((tmp_path / "audit.json").read_text())
    assert content["facts"]["problems"] == 10
    assert content["facts"]["rollouts"] == 40
    assert content["about"]["model"] == "tiny"
    with (tmp_path / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["cells"])
    aurocs = [float(r["value"]) for r in rows if r["measure"] == "auroc" and r["part"] == "worked" and r["value"]]
    assert aurocs
    assert all(0.5 < value < 1 for value in aurocs)  # evidence of this model is no noise
    parts = {r["part"] for r in rows}
    assert parts | {"montecarlo"} == {
        "sampled", "worked", "first_error", "profile", "montecarlo", "null", "sensitivity",
    }  # fmt: skip
    # So few rollouts may hold no problem with right and wrong ones: then the notes say so.
    assert ("montecarlo" in parts) != any("no Monte-Carlo values" in note for note in content["notes"])


def audited(problems: int = 6, **changes: object):
    settings = {"methods": ["rlsd/prefill", "cepo-own"], "parts": ["labelled"], "max_new_tokens": 48} | changes
    data = load_problems(DataSpec("geometry", split="validation", limit=problems, seed=1), wrong=1)
    processor = load_processor(str(EMBEDDED))
    return run_audit(quick(AuditSettings(**settings)), data, embedded(), None, processor, lambda _: None)  # pyright: ignore[reportArgumentType]


@pytest.mark.long
def test_equal_arguments_give_equal_tables() -> None:
    first = audited()
    assert as_csv(first.ledger) == as_csv(audited().ledger)
    assert as_csv(first.ledger) != as_csv(audited(seed=5).ledger)


@pytest.mark.long
def test_another_teacher_is_audited_beside_the_model_s_own() -> None:
    data = load_problems(DataSpec("geometry", split="validation", limit=6, seed=1), wrong=1)
    processor = load_processor(str(EMBEDDED))
    settings = quick(AuditSettings(methods=["cepo-own", "rlsd"], parts=["labelled"], max_new_tokens=48))
    other = embedded()
    other.lm_head.weight.data.mul_(0.5)
    result = run_audit(settings, data, embedded(), other, processor, lambda _: None)
    own, others = (result.ledger[Cell("worked", name, "", "contrast")] for name in ("cepo-own", "cepo-own@teacher"))
    assert own is not None
    assert others is not None
    assert own.mean != others.mean
    same = run_audit(settings, data, embedded(), embedded(), processor, lambda _: None)
    for name in ("cepo-own", "rlsd"):
        cells = (Cell("sampled", each, "", "auroc") for each in (name, f"{name}@teacher"))
        one, two = (same.ledger[cell] for cell in cells)
        assert one == pytest.approx(two, abs=1e-3)  # equal weights are the same teacher


def test_data_without_labels_is_audited_by_values_and_nulls_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [problem_row(p) for p in generate("validation", 24, seed=0)]
    Dataset.from_list(rows).save_to_disk(tmp_path / "data")
    assert main(["audit", "tiny", *SMALL, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 0
    assert "no labelled spans" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert {cell["part"] for cell in content["cells"]} == {"montecarlo", "null"}
    assert any("no labelled spans" in note for note in content["notes"])


def test_findings_say_what_differs_and_what_does_not() -> None:
    lines = findings(audited(methods=["rlsd", "cepo-sampled"]))
    assert any(line.startswith("**method: CEPO against RLSD**") for line in lines)
    assert all(line.endswith(".") for line in lines)
    few = next(line for line in lines if "CEPO against RLSD" in line)
    assert "no verdict" in few  # six problems are too few to tell


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/model"], "/nowhere/model"),
        (["tiny", "--data", "/nowhere/data.jsonl"], "/nowhere/data.jsonl"),
        (["tiny", "--split", "test"], "'test'"),
        (["tiny", "--method", "cepo-ow"], "did you mean 'cepo-own'"),
        (["tiny", "--parts", "labeled"], "labeled"),
        (["tiny", "--problems", "0"], "at least 1"),
        (["tiny", "--rollouts", "1"], "rollouts must be at least 2"),
        (["tiny", "--continuations", "3"], "continuations must be an even number"),
        (["tiny", "--clip", "0"], "above 0"),
        (["tiny", "--clip", "1.5"], "eps_w"),
        (["tiny", "--problems", "2", "--max-new-tokens", "600"], "1024 positions"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = refused(capsys, *arguments, "--out", str(tmp_path))
    assert line.startswith("cepo: error: ")
    assert words in line


def test_a_folder_that_cannot_be_written_and_groups_without_credit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, "tiny", "--quick", "--out", str(tmp_path / "file" / "x"))
    impossible = [{"id": f"{i}", "question": "What is 2 + 2?", "answer": "4"} for i in range(3)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in impossible))
    command = [
        "tiny",
        "--quick",
        "--data",
        str(tmp_path / "text.jsonl"),
        "--out",
        str(tmp_path),
        "--max-new-tokens",
        "8",
    ]
    assert "no group of 4 rollouts has both right and wrong ones" in refused(capsys, *command)
