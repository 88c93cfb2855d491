"""`cepo grade`: verdicts, rules and times of two files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cepo.cli import main


def files(folder: Path, golds: list[str], answers: list[str]) -> list[str]:
    (folder / "golds.txt").write_text("\n".join(golds))
    (folder / "answers.txt").write_text("\n".join(answers))
    return ["grade", "--golds", str(folder / "golds.txt"), "--answers", str(folder / "answers.txt")]


def test_it_prints_verdicts_rules_and_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = files(tmp_path, ["18", "(1,2)", "B"], [r"18 \text{ days}", "(2,1)", "B. 30"])
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["right", "value"], ["wrong", "value"], ["right", "option"]]
    assert lines[4].startswith("cepo: 2 of 3 right; median")


def test_two_graders_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = files(tmp_path, ["64", "5"], ["64_5", "5"])
    assert main([*arguments, "--grader", "both", "--only", "differ"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4, "a heading, the row that differs, two summaries"
    assert "64 | 64_5" in lines[1]


def test_completions_and_jsonl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "\n".join(json.dumps({"gold": 5, "completion": text}) for text in (r"\boxed{5}", "the answer is 5"))
    )
    arguments = ["grade", "--golds", str(rows), "--answers", str(rows)]
    assert main([*arguments, "--completions", "boxed"]) == 0
    assert "cepo: 1 of 2 right" in capsys.readouterr().out
    assert main([*arguments, "--completions", "auto"]) == 0
    assert "cepo: 2 of 2 right" in capsys.readouterr().out


def test_what_is_wrong_with_the_files_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files(tmp_path, ["1", "2"], ["1"])) == 2
    assert "2 gold answers" in capsys.readouterr().err
    assert main(["grade", "--golds", "/nowhere", "--answers", "/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err
    (tmp_path / "rows.jsonl").write_text('{"text": 5}')
    assert main(["grade", "--golds", str(tmp_path / "rows.jsonl"), "--answers", str(tmp_path / "rows.jsonl")]) == 2
    assert "--field" in capsys.readouterr().err
