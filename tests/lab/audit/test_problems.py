"""Which data has labels, and what is refused."""

import json

import pytest
from datasets import Dataset

from cepo.data.datasets import DataSpec
from cepo.data.rows import problem_row
from cepo.errors import DataError
from cepo.geometry import generate
from cepo.lab.audit.problems import load_problems

GOLD = r"[7 + 8] = [15]. [15 - 2] = [13]. So the answer is \boxed{[13]}."
WRONG = r"[7 + 8] = [16]. [16 - 2] = [14]. So the answer is \boxed{[14]}."
ROW = {"id": "p", "question": "What is (7 + 8) - 2?", "answer": "13", "markup": GOLD, "wrong_markups": [WRONG]}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSpec(str(path))


def test_geometry_is_labelled():
    problems = load_problems(DataSpec("geometry", split="validation", limit=12, seed=3), wrong=2)
    assert [problem.row["id"] for problem in problems] == [p.id for p in generate("validation", 12, 3)]
    for problem in problems:
        right, *wrong = problem.worked
        assert right.text == problem.solution
        assert right.labels.wrong_from is None
        assert len(wrong) == 2
        assert all(one.labels.wrong_from is not None for one in wrong)
        assert problem.label is not None
        assert problem.label(right.text) == right.labels
        assert problem.label("nothing of the kind") is None


def test_a_file_brings_its_labels(tmp_path):
    other = ROW | {"id": "q", "answer": "14", "markup": WRONG, "wrong_markups": []}
    problems = load_problems(write(tmp_path / "data.jsonl", ROW, other), wrong=1)
    assert [len(problem.worked) for problem in problems] == [2, 1]
    first = problems[0]
    assert first.solution == r"7 + 8 = 15. 15 - 2 = 13. So the answer is \boxed{13}."
    assert first.worked[1].text[first.worked[1].labels.wrong_from :].startswith("6. 16")
    assert first.label is not None
    labels = first.label(r"8 + 7 = 15, and 15 - 2 = 12. \boxed{12}")
    assert labels is not None
    assert labels.wrong_from == len("8 + 7 = 15, and 15 - 2 = 1")


def test_rollouts_are_labelled_only_where_the_grammar_agrees_with_the_file(tmp_path):
    """Here the file calls a word decisive, which equations do not."""
    markup = r"[7 + 8] [plus-minus] = [15]. So \boxed{[13]}."
    (problem,) = load_problems(write(tmp_path / "data.jsonl", ROW | {"markup": markup}), wrong=1)
    assert len(problem.worked) == 2
    assert problem.label is None


def test_other_data_has_no_labels(tmp_path):
    Dataset.from_list([problem_row(p) for p in generate("train", 3)]).save_to_disk(tmp_path / "saved")
    for problem in load_problems(DataSpec(str(tmp_path / "saved")), wrong=1):
        assert problem.worked == ()
        assert problem.label is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": "12"}, "p: markup boxes '13', the answer is '12'"),
        ({"wrong_markups": [GOLD]}, "wrong_markups holds a solution that is right"),
        ({"markup": "[7 + 8 = 15"}, "id 'p': brackets do not pair"),
        ({"markup": 7}, "p: markup boxes None"),
    ],
)
def test_markup_that_does_not_fit_is_refused(change, words, tmp_path):
    with pytest.raises(DataError, match=words):
        load_problems(write(tmp_path / "data.jsonl", ROW | change), wrong=1)


def test_labels_need_ids_and_every_row(tmp_path):
    nameless = {name: value for name, value in ROW.items() if name != "id"}
    with pytest.raises(DataError, match="no column id"):
        load_problems(write(tmp_path / "a.jsonl", nameless), wrong=1)
    bare = {"id": "q", "question": "What is 1 + 1?", "answer": "2"}
    with pytest.raises(DataError, match="rows without markup: q"):
        load_problems(write(tmp_path / "b.jsonl", ROW, bare), wrong=1)
