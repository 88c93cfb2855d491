"""Data of every spelling becomes the rows that TRL reads, or one error that says what to repair."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image
from trl.data_utils import is_conversational, prepare_multimodal_messages

from cepo.answers import BOXED, grade
from cepo.data import sources
from cepo.data.datasets import DataError, DataSpec, load_data
from cepo.data.rows import user_prompt
from cepo.geometry import generate

MINI = Path(__file__).parents[1] / "fixtures" / "geometry3k_mini"
PARQUET = MINI / "data" / "train-00000-of-00001.parquet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")


def jsonl(folder: Path, *rows: Any, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def fault(spec: DataSpec) -> str:
    with pytest.raises(DataError) as caught:
        load_data(spec)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


# Sources


def test_geometry_rows_are_the_generated_problems() -> None:
    problems = generate("validation", 12, seed=7)
    data = load_data(DataSpec("geometry", split="validation", limit=12, seed=7))
    assert data["id"][:] == [problem.id for problem in problems]
    for row, problem in zip(data, problems, strict=True):
        assert row["prompt"] == user_prompt(problem.question)
        assert (row["answer"], row["solution"]) == (problem.answer, problem.solution)
        drawn = Image.open(io.BytesIO(problem.image_png)).convert("RGB")
        assert row["images"][0].mode == "RGB"
        assert row["images"][0].tobytes() == drawn.tobytes()
    assert set(load_data(DataSpec("geometry", limit=4, families=["rectangle"]))["family"]) == {"rectangle"}


@pytest.mark.parametrize("path", [MINI, PARQUET, MINI / "rows.jsonl"], ids=["folder", "parquet", "jsonl"])
def test_geometry3k_reads_alike_from_every_form(path: Path) -> None:
    data = load_data(DataSpec(str(path)))
    assert data.column_names == ["prompt", "images", "answer", "id"]
    assert len(data) == 6
    for index, row in enumerate(data):
        content = row["prompt"][0]["content"]
        assert "<image>" not in content
        assert content.endswith(BOXED.instruction)
        with Image.open(MINI / "pictures" / f"{index}.png") as drawn:
            assert row["images"][0].tobytes() == drawn.convert("RGB").tobytes()
    assert data["answer"][:2] == ["38 ^ { \\circ }", "51"]
    assert all(grade(rf"\boxed{{{answer}}}", answer) for answer in data["answer"])
    assert data["id"][3] == (f"{path}/train/3" if path.is_dir() else f"{path}/3")


def test_rows_go_through_trl_as_they_are() -> None:
    for row in load_data(DataSpec(str(PARQUET))):
        assert is_conversational(row)
        (message,) = prepare_multimodal_messages(row["prompt"], images=row["images"])
        image, text = message["content"]
        assert image == {"type": "image", "image": row["images"][0]}
        assert text == {"type": "text", "text": row["prompt"][0]["content"]}


def test_images_stay_encoded_until_they_are_read() -> None:
    embedded = load_data(DataSpec(str(PARQUET))).data.column("images").to_pylist()
    linked = load_data(DataSpec(str(MINI / "rows.jsonl"))).data.column("images").to_pylist()
    for index, ((inside,), (outside,)) in enumerate(zip(embedded, linked, strict=True)):
        file = MINI / "pictures" / f"{index}.png"
        assert inside["bytes"] == file.read_bytes()
        assert outside == {"bytes": None, "path": str(file)}


def test_saved_data_sets_open_by_split_and_are_left_as_they_are(tmp_path: Path) -> None:
    data = load_data(DataSpec("geometry", limit=5))
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data.select([4])}).save_to_disk(tmp_path / "two")
    before = sorted(tmp_path.rglob("*"))
    assert load_data(DataSpec(str(tmp_path / "one")))[:3]["id"] == data[:3]["id"]
    assert load_data(DataSpec(str(tmp_path / "two"), split="test"))["id"][:] == [data[4]["id"]]
    assert "has no split 'dev'; it has train, test" in fault(DataSpec(str(tmp_path / "two"), split="dev"))
    assert "the split 'train', and no 'test'" in fault(DataSpec(str(tmp_path / "one"), split="test"))
    assert sorted(path for path in tmp_path.rglob("*") if "hf-cache" not in str(path)) == before


def test_values_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer,image\n"How,\nmany?",007,\nAgain\u2028so?,0.50,\n')
    assert load_data(DataSpec(str(tmp_path / "a.csv")))["answer"][:] == ["007", "0.50"]
    (tmp_path / "a.json").write_text('[{"question": "q", "answer": 0.50}, {"question": "q", "answer": 7}]')
    data = load_data(DataSpec(str(tmp_path / "a.json")))
    assert data["answer"][:] == ["0.50", "7"]
    assert data.column_names == ["prompt", "answer", "id"]


def test_limit_draws_by_seed_and_keeps_the_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"question": "q", "answer": n, "id": n} for n in range(50)))
    draws = [load_data(DataSpec(path, limit=10, seed=seed))["id"][:] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == sorted(draws[0], key=int) != [str(n) for n in range(10)]
    assert len(load_data(DataSpec(path, limit=500))) == 50


def test_an_unreachable_hub_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        try:
            raise OSError("[Errno -2] Name or service not known")
        except OSError as error:
            raise ConnectionError("Couldn't reach 'hiyouga/geometry3k' on the Hub") from error

    monkeypatch.setattr(sources, "load_dataset", refuse)
    message = fault(DataSpec("hiyouga/geometry3k"))
    assert "cannot load hiyouga/geometry3k (split 'train') from the Hugging Face hub: ConnectionError" in message
    assert "--local-dir" in message
    assert "columns" in message


def test_a_hub_data_set_is_read_with_its_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: str, subset: str | None, *, split: str) -> datasets.Dataset:
        asked.append((path, subset, split))
        return datasets.Dataset.from_dict({"question": ["1 + 1?"], "answer": [2]})

    monkeypatch.setattr(sources, "load_dataset", load)
    data = load_data(DataSpec("a/b", split="test", subset="main"))
    assert asked == [("a/b", "main", "test")]
    assert data[0] == {"prompt": user_prompt("1 + 1?"), "answer": "2", "id": "a/b/test/0"}


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"question": f"of {split}", "answer": "7"}) + "\n")
    for split in ("train", "test"):
        (row,) = load_data(DataSpec(str(tmp_path), split=split))
        assert f"of {split}" in row["prompt"][0]["content"]
    with pytest.raises(DataError, match=r"no file is named after the split 'validation' .* test\.jsonl, train\.jsonl"):
        load_data(DataSpec(str(tmp_path), split="validation"))
    (tmp_path / "test.csv").write_text("question,answer\nx,7\n")
    with pytest.raises(DataError, match="two files are named after the split 'test'"):
        load_data(DataSpec(str(tmp_path), split="test"))


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (dict(path=""), "the path is empty"),
        (dict(path="x.jsonl", limit=0), "limit must be at least 1, got 0"),
        (dict(path="geometry"), "say how many with `limit`"),
        (dict(path="geometry", limit=1, split="test"), "choose from train, validation, held_out"),
        (dict(path="geometry", limit=1, families=["cube"]), "choose from triangle_sum"),
        (dict(path="geometry", limit=1, columns={"answer": "a"}), "does not go with the data 'geometry'"),
        (dict(path="x.jsonl", families=["rectangle"]), "does not go with the data 'x.jsonl'"),
        (dict(path=str(MINI / "row.jsonl")), "did you mean"),
        (dict(path=str(MINI / "nowhere" / "row.jsonl")), "nor is there a folder"),
        (dict(path=str(MINI), split="test"), "is named after the split 'test': data/train-00000"),
        (dict(path=str(MINI), subset="main"), "is for the hub"),
        (dict(path=str(MINI / "pictures")), "neither a `save_to_disk` data set nor files of .jsonl"),
        (dict(path=str(MINI / "pictures" / "0.png")), "its ending is none of .jsonl, .json, .parquet, .csv"),
        (dict(path=str(MINI / "rows.jsonl"), split="validation"), "has no split 'validation'"),
    ],
)
def test_a_wrong_request_is_named(spec: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        load_data(DataSpec(**spec))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        (
            "a.jsonl",
            b'{"question": "q"}\n\n{"question": \n',
            "line 3 is not JSON: Expecting value at character",
        ),
        ("a.jsonl", b"[1, 2]\n", "row 0: not an object with named columns: "),
        ("a.jsonl", b'{"question": "caf\xe9"}', "is not UTF-8 text"),
        ("a.jsonl", b"", "has no rows"),
        ("a.json", b'{"question": "q"}', "holds a JSON dict, not a list of rows"),
        ("a.json", b"[]", "has no rows"),
        ("a.csv", b"question,answer\n1,2,3\n", "row 0: more fields than the 2 columns of line 1"),
        ("a.csv", b"question,answer\n", "has no rows"),
        ("a.csv", b'question,answer\n"1,2\n', "is not valid CSV"),
        ("a.parquet", b"PAR1 not really", "Is each of its files a whole Parquet file?"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = fault(DataSpec(str(tmp_path / name)))
    assert part in message
    assert str(tmp_path / name) in message


# Columns


def test_columns_are_mapped_by_any_of_our_spellings(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"question_text": "q", "label": 3, "answer": "long text", "note": "n"})
    data = load_data(DataSpec(path, columns={"problem": "question_text", "answer": "label", "id": "note"}))
    assert data[:] == {"prompt": [user_prompt("q")], "answer": ["3"], "id": ["n"]}
    data = load_data(DataSpec(path, columns={"prompt": "question_text", "answer": "label", "solution": "answer"}))
    assert data[0]["solution"] == "long text"


@pytest.mark.parametrize(
    ("row", "columns", "part"),
    [
        ({"question": "q", "anwser": 1}, {}, "has the columns question, anwser; did you mean 'anwser'? Name it"),
        ({"text": "q", "answer": 1}, {}, "no column for the prompt"),
        ({"question": "q", "answer": 1}, {"answer": "answr"}, "to 'answr'; "),
        ({"question": "q", "answer": 1}, {"reply": "answer"}, "maps 'reply', which is no column of ours"),
        ({"question": "q", "answer": 1}, {"prompt": "question", "problem": "answer"}, "maps prompt twice"),
        ({"question": "q", "problem": "p", "answer": 1}, {}, "which of problem and question is the prompt"),
    ],
)
def test_columns_that_do_not_fit_are_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], part: str
) -> None:
    assert part in fault(DataSpec(jsonl(tmp_path, row), columns=columns))


# Rows


def test_every_unusable_row_is_counted_and_the_first_five_are_shown(tmp_path: Path) -> None:
    good = {"question": "q", "answer": "3"}
    bad = [{"question": "q", "answer": answer} for answer in ("", None, True, "{3", [3], "  ", "#### 3")]
    path = jsonl(tmp_path, good, *bad, good)
    message = fault(DataSpec(path))
    assert "7 of 9 rows cannot be used (rows count from 0):\n  row 1: answer '': it is empty" in message
    assert "row 5" in message
    assert "row 6" not in message
    assert "and 2 more\nRepair them, or leave them out with drop_invalid: true." in message


def test_unusable_rows_are_dropped_on_request_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path, *({"question": "q", "answer": answer} for answer in ("1", "", "3")))
    with caplog.at_level(logging.WARNING):
        data = load_data(DataSpec(path, drop_invalid=True))
    assert data["answer"][:] == ["1", "3"]
    assert data["id"][:] == [f"{path}/0", f"{path}/2"]
    assert "1 of 3 rows" in caplog.text
    assert "2 rows remain" in caplog.text
    none = jsonl(tmp_path, {"question": "q", "answer": ""}, name="none.jsonl")
    assert "none of the 1 rows can be used" in fault(DataSpec(none, drop_invalid=True))


def test_rows_without_images_go_along_with_rows_that_have_some(tmp_path: Path) -> None:
    picture = str(MINI / "pictures" / "0.png")
    values = [picture, None, [picture, picture], [], ""]
    path = jsonl(tmp_path, *({"question": "q", "answer": 1, "images": value} for value in values))
    data = load_data(DataSpec(path))
    assert [len(images) for images in data["images"]] == [1, 0, 2, 0, 0]
    path = jsonl(tmp_path, {"question": "q", "answer": 1, "images": []}, name="none.jsonl")
    assert "images" not in load_data(DataSpec(path)).column_names


def test_image_paths_start_at_the_file_or_at_the_root_given(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"question": "q", "answer": 1, "image": "0.png"})
    assert load_data(DataSpec(path, image_root=str(MINI / "pictures")))[0]["images"][0].size == (128, 128)
    assert f"image file '{tmp_path / '0.png'}' does not exist; relative paths start at" in fault(DataSpec(path))


def test_stored_conversations_with_parts_are_read(tmp_path: Path) -> None:
    picture = (MINI / "pictures" / "0.png").read_bytes()
    parts = [{"type": "text", "text": "Find x."}, {"type": "image", "text": None}]
    data = datasets.Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": parts}]], "image": [picture], "answer": [4]}
    )
    data.to_parquet(tmp_path / "parts.parquet")
    (row,) = load_data(DataSpec(str(tmp_path / "parts.parquet")))
    assert row["prompt"] == user_prompt("Find x.")
    assert row["images"][0].size == (128, 128)
