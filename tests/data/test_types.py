"""Values keep their column's type and their problem's identity; what cannot be written or read is said with its row."""

from __future__ import annotations

import datetime
import decimal
import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from cepo.data.datasets import DataSpec, load_data
from cepo.data.temporary import temporary_folder
from cepo.errors import DataError

FLOATS = [
    ("float32", 0.1, "0.1"),
    ("float32", 1e-3, "0.001"),
    ("float64", 0.1 + 0.2, "0.3"),
    ("float64", 18.0, "18"),
    ("float64", 17.96, "17.96"),
    ("float64", 1 / 3, "0.3333333333333333"),
    ("float64", 2.5e-7, "0.00000025"),
    ("float16", 0.1, "0.1"),
    ("int64", 18, "18"),
    ("date32", datetime.date(2024, 2, 1), "2024-02-01"),
    ("timestamp[s]", datetime.datetime(2024, 2, 1, 9, 30), "2024-02-01 09:30:00"),
    ("decimal128(10, 3)", decimal.Decimal("18.500"), "18.5"),
    ("decimal128(10, 3)", decimal.Decimal("1200.000"), "1200"),
]


@pytest.mark.parametrize(("kind", "value", "text"), FLOATS, ids=lambda value: str(value))
def test_a_number_is_the_text_of_its_type(kind: str, value: Any, text: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    features = Features({"problem": Value("string"), "answer": Value(kind)})
    Dataset.from_dict({"problem": ["a?"], "answer": [value]}, features=features).to_parquet(str(file))
    assert load_data(DataSpec(str(file)))["answer"] == [text]


def test_integers_with_nulls_are_integers(tmp_path: Path) -> None:
    """As pandas writes them."""
    import pandas

    file = tmp_path / "rows.parquet"
    pandas.DataFrame({"problem": ["a?", "b?"], "answer": [18, None]}).to_parquet(file)
    assert load_data(DataSpec(str(file), drop_invalid=True))["answer"] == ["18"]


def test_a_class_label_is_its_name(tmp_path: Path) -> None:
    features = Features({"problem": Value("string"), "answer": ClassLabel(names=["A", "B", "C"])})
    Dataset.from_dict({"problem": ["a?", "b?"], "answer": [2, 0]}, features=features).save_to_disk(str(tmp_path / "d"))
    assert load_data(DataSpec(str(tmp_path / "d")))["answer"] == ["C", "A"]


def test_an_id_that_stands_for_several_problems_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [("q", "red?", "1"), ("q", "blue?", "2"), ("q", "red?", "1"), ("r", "green?", "3")]
    file.write_text("".join(json.dumps({"id": i, "problem": p, "answer": a}) + "\n" for i, p, a in rows))
    with caplog.at_level(logging.WARNING):
        data = load_data(DataSpec(str(file)))
    assert data["id"] == ["q", f"{file}/1", "q", "r"]
    assert "1 ids stand for several problems, such as 'q' (row 1)" in caplog.text


def test_half_a_character_is_told_with_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"problem": "a?", "answer": "1"}\n{"problem": "b \\ud83d?", "answer": "2"}\n')
    with pytest.raises(DataError, match=r"row 1: prompt holds '\\ud83d' at character 2, a lone surrogate"):
        load_data(DataSpec(str(file)))
    assert load_data(DataSpec(str(file), drop_invalid=True))["answer"] == ["1"]


def test_a_long_field_of_a_csv_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("problem,answer,solution\n1+1?,2," + "x" * 200_000 + "\n")
    assert len(load_data(DataSpec(str(file)))["solution"][0]) == 200_000


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"problem": "a?", "answer": "1"}\n')
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "finalize", full)
    with pytest.raises(DataError, match=rf"temporary folder {tmp_path}/cepo-data-\S+ \(No space left.*set TMPDIR"):
        load_data(DataSpec(str(file)))


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, time; from cepo.data.temporary import temporary_folder as t; print(t('cepo-data-'), flush=True);"
        "os.read(0, 1)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def start() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.is_dir()
    alive, own = start()
    other, _ = start()
    assert not left.exists()
    assert own.is_dir()
    for process in (alive, other):
        process.communicate(" ")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_being_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of one run start at the same moment: one removed what another had just made, and not yet locked."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    flock, within = fcntl.flock, []

    def another_starts_first(*words: Any) -> None:
        if not within:
            within.append(True)
            within.append(temporary_folder("cepo-data-"))
        flock(*words)

    monkeypatch.setattr("fcntl.flock", another_starts_first)
    own = temporary_folder("cepo-data-")
    _, other = within
    assert own.is_dir()
    assert other.is_dir()
    assert sorted(tmp_path.iterdir()) == sorted([own, other])
    third = temporary_folder("cepo-data-")
    assert all(folder.is_dir() for folder in (own, other, third))
    for folder in (own, other, third):
        shutil.rmtree(folder)
