"""`cepo grade`: verdicts, rules and times of two files."""

from __future__ import annotations

import json
import re
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


@pytest.mark.parametrize(
    ("golds", "answers", "more", "said"),
    [
        ("1\n2\n", "1\n", [], "golds.txt has 2 gold answers and .*answers.txt 1 answers: each gold answer needs one"),
        ("", "1\n", [], "--golds: .*golds.txt is empty"),
        ("1\n", "\n\n", [], "--answers: .*answers.txt is empty"),
        ("1\n", b"\xff\xfe1\n", [], "--answers: .*answers.txt is not UTF-8 text"),
        ("1\n", "1\n", ["--field", "x"], "--field 'x': .*golds.txt has no fields"),
        (None, "1\n", [], "--golds: the file '.*golds.txt' is not there"),
        ("1\n", None, [], "--answers: the file '.*answers.txt' is not there"),
    ],
    ids=["lengths", "no golds", "blank answers", "bytes", "field of text", "missing golds", "missing answers"],
)
def test_what_is_wrong_with_text_files_is_said_in_one_line(
    golds: str | None,
    answers: str | bytes | None,
    more: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = {"golds": tmp_path / "golds.txt", "answers": tmp_path / "answers.txt"}
    for path, content in zip(paths.values(), (golds, answers), strict=True):
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["grade", "--golds", str(paths["golds"]), "--answers", str(paths["answers"]), *more]) == 2
    assert one_line(capsys, said)


@pytest.mark.parametrize(
    ("row", "more", "said"),
    [
        ('{"text": 5}', [], "line 2: no field 'gold' or 'answer' or 'solution' .it has 'text'.; name one with --field"),
        ('{"gold": 5}', ["--field", "goold"], "no field 'goold' .it has 'gold'.; .*did you mean 'gold'"),
        ('{"gold": 5', [], "line 2: not JSON .*; a .jsonl file has one JSON value a line"),
        ("", [], "line 2: not JSON"),
        ('{"gold": null, "answer": 5}', [], "line 2: gold is null, neither a text nor a number"),
        ('{"gold": ["5"]}', [], r"line 2: gold is \["),
    ],
    ids=["no field", "unknown field", "cut", "blank line", "null", "list"],
)
def test_what_is_wrong_with_json_lines_is_said_in_one_line(
    row: str, more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    first = json.dumps({"gold": 5, "completion": "5", "goold": 5} if not more else {more[1]: 5})
    rows.write_text(f"{first}\n{row}\n{first}\n")
    assert main(["grade", "--golds", str(rows), "--answers", str(rows), *more]) == 2
    assert one_line(capsys, said)


def test_a_folder_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", "--golds", str(tmp_path), "--answers", str(tmp_path)]) == 2
    assert one_line(capsys, "is a folder")


def test_an_empty_line_is_an_empty_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "golds.txt").write_text("1\r\n2\r\n3\r\n")
    (tmp_path / "answers.txt").write_text("1\n\n3\u2028\n")
    arguments = ["grade", "--golds", str(tmp_path / "golds.txt"), "--answers", str(tmp_path / "answers.txt")]
    assert main(arguments) == 0
    assert "cepo: 2 of 3 right" in capsys.readouterr().out


def one_line(capsys: pytest.CaptureFixture[str], said: str) -> bool:
    """Whether stderr is one error that says so, and nothing was printed."""
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert (len(lines), shown.out) == (1, ""), shown
    assert lines[0].startswith("cepo: error: ")
    assert re.search(said, lines[0]), lines[0]
    return True
