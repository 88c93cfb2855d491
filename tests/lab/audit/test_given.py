"""Rollouts that exist already: each takes the place of a sampled one, and a bad file is one sentence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from cepo.cli import main
from cepo.credit.prompts import written_ids
from cepo.data.datasets import DataSpec
from cepo.errors import DataError
from cepo.lab.audit.given import read_completions, with_completions
from cepo.lab.audit.problems import AuditProblem, Given, load_problems
from cepo.lab.audit.targets import given_target
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor

TOKENIZER: Any = load_processor(str(EMBEDDED)).tokenizer
PROBLEMS = load_problems(DataSpec("chain", split="validation", limit=6), wrong=2)
IDS = [str(problem.row["id"]) for problem in PROBLEMS]
END = TOKENIZER.eos_token_id


def texts(problem: AuditProblem) -> list[str]:
    """A right solution and two wrong ones."""
    return [solution.text for solution in problem.worked]


def written(folder: Path, *rows: object) -> Path:
    path = folder / "given.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def recorded(folder: Path) -> Path:
    """Of problem 1 three completions, of problem 4 two, of problem 2 one; lines in no order."""
    groups = {4: texts(PROBLEMS[4])[:2], 1: texts(PROBLEMS[1]), 2: texts(PROBLEMS[2])[:1]}
    rows = [{"id": IDS[index], "completion": text} for index, group in groups.items() for text in group]
    return written(folder, rows[-1], *rows[:-1])


def audit(*arguments: str) -> int:
    return main(["audit", "tiny-text", "--data", "chain", "--quick", "--method", "cepo-own", *arguments])


def test_given_completions_are_what_is_audited(tmp_path: Path) -> None:
    given = ["--completions", str(recorded(tmp_path)), "--problems", "6"]  # fewer problems, of which all ids are
    assert audit(*given, "--parts", "labelled", "--out", str(tmp_path / "a")) == 0
    content = json.loads((tmp_path / "a" / "audit.json").read_text())
    facts = content["facts"]
    assert [facts[name] for name in ("problems", "problems_decided", "rollouts")] == [3, 2, 6]
    assert [facts[name] for name in ("rollouts_right", "rollouts_truncated", "rollouts_not_parsed")] == [3, 0, 0]
    assert facts["rollouts_labelled_and_compared"] == 5
    assert any("given completions" in note for note in content["notes"])


@pytest.mark.long
def test_values_are_sampled_and_other_groups_left_out(tmp_path: Path) -> None:
    arguments = ["--completions", str(recorded(tmp_path)), "--max-new-tokens", "32", "--out", str(tmp_path / "out")]
    assert audit(*arguments) == 0
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert content["facts"]["mc_rollouts"] == 4  # two of each decided problem
    assert "null" in {cell["part"] for cell in content["cells"]}
    levels = {cell["level"] for cell in content["cells"] if cell["part"] == "sensitivity"}
    assert not any(level.startswith(("group size", "different answers")) for level in levels)
    assert any("groups of their own" in note for note in content["notes"])


def test_completions_stand_with_their_problem_in_the_file_s_order(tmp_path: Path) -> None:
    found = with_completions(PROBLEMS, read_completions(recorded(tmp_path)))
    assert [problem.row["id"] for problem in found] == [IDS[1], IDS[2], IDS[4]]
    assert [one.text for one in found[0].given] == texts(PROBLEMS[1])
    assert found[1].given[0].where.endswith("given.jsonl, line 1")


def test_a_whole_number_is_an_id_and_lines_may_be_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "", {"id": 7, "completion": "a"}, "", {"id": "7", "completion": "", "more": 1})
    assert [one.text for one in read_completions(path)["7"]] == ["a", ""]


@pytest.mark.parametrize("text", ["x=70<|im_end|>", "<|im_start|>assistant\n\\boxed{70}", "<|image_pad|>" * 2])
def test_control_tokens_in_a_completion_stay_text(text: str) -> None:
    problem = AuditProblem({"id": "1", "answer": "70", "prompt": []})
    target = given_target(0, problem, TOKENIZER, Given(text, "file, line 1"), [END])
    assert target.text == text
    assert target.ids[-1] == END
    assert not target.truncated
    assert not set(target.ids[:-1]) & set(TOKENIZER.all_special_ids)


def test_an_added_token_that_is_not_special_is_one_token() -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    (thought,) = tokenizer("<think>", add_special_tokens=False)["input_ids"]
    ids = written_ids(tokenizer, "<think>7<|im_end|>")
    assert ids[0] == thought
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == "<think>7<|im_end|>"


GOOD = {"id": IDS[0], "completion": "so gives 7, \\boxed{7}"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["{"], "line 1 is not JSON"),
        ([GOOD, '["a", "b"]'], "line 2 is no object"),
        ([GOOD, {"completion": "a"}], "line 2 has no 'id', but completion"),
        ([GOOD, {"id": IDS[0], "text": "a"}], "line 2 has no 'completion', but id, text"),
        ([GOOD, {"id": IDS[0], "completion": 7}], "line 2: completion must be text, got 7"),
        ([GOOD, {"id": True, "completion": "a"}], "line 2: id must be text, got true"),
        ([GOOD, {"id": IDS[0], "completion": "\ud83d"}], "line 2: completion holds"),
        ([], "holds no completion"),
        ([""], "holds no completion"),
        ([GOOD, {**GOOD, "id": IDS[1]}], "one completion of each problem"),
        ([GOOD, GOOD, {**GOOD, "id": "chain/7+3#0"}], "line 3: none of the 100 problems has the id 'chain/7+3#0'"),
    ],
)
def test_a_bad_file_is_one_line_before_a_model_is_loaded(
    rows: list[object], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, *rows)
    refused(capsys, "/nowhere/model", str(path), tmp_path, words)


def test_no_file_bytes_that_are_no_text_and_rollouts_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    refused(capsys, "/nowhere/model", str(tmp_path / "no.jsonl"), tmp_path, "no.jsonl' with completions")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    refused(capsys, "/nowhere/model", str(tmp_path / "bytes.jsonl"), tmp_path, "not UTF-8")
    file = str(recorded(tmp_path))
    refused(capsys, "/nowhere/model", file, tmp_path, "leave one of them out", "--rollouts", "4")


def test_what_only_the_model_can_tell_is_one_line_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Words that its tokenizer lacks, more tokens than it has positions, and no right rollout."""
    for texts_of, words in (
        (["so gives 7, \\boxed{7}", "Hello"], "line 2: the model's tokenizer does not keep 'Hello'"),
        (["so gives 7, " * 150, "so gives 7, \\boxed{7}"], "1024 positions"),
        (["so gives ", "so gives "], "no group of given completions has both right and wrong ones"),
    ):
        path = written(tmp_path, *({"id": IDS[0], "completion": text} for text in texts_of))
        refused(capsys, "tiny-text", str(path), tmp_path, words)


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean"):
        with_completions(PROBLEMS, {f"{IDS[3]}0": (Given("a", "file, line 1"),)})


def refused(capsys: pytest.CaptureFixture[str], model: str, file: str, folder: Path, words: str, *more: str) -> None:
    assert main(["audit", model, "--data", "chain", "--completions", file, "--out", str(folder / "out"), *more]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1, lines
    assert words in lines[0]
