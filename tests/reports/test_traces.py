"""Credit records survive the disk, a kill, a resume and a full disk; nothing else may stop a training run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cepo.errors import RecordError
from cepo.glossary import Told
from cepo.reports import traces
from cepo.reports.traces import SCHEMA, TRACE_FILE, CreditRecord, TraceWriter, read_traces

PER_TOKEN = ("advantage", "evidence", "weight")


def record(step: int = 1, row: int = 0, **changes: object) -> CreditRecord:
    plain = CreditRecord(
        step=step,
        problem_id="p/0",
        row=row,
        group=row // 2,
        method="cepo",
        prompt_text="Find x.",
        tokens=["x", "=", "3"],
        token_ids=[5, 6, 7],
        advantage=[0.5, 0.25, 0.75],
        base_advantage=0.5,
        reward=1.0,
        evidence=[0.0, 0.0, 1.5],
        weight=[1.0, 1.0, 1.5],
        correct=True,
        answer="3",
        gold="3",
        told={
            "plus": Told(("3",), "gold"),
            "minus": Told(("4", "5"), "group", is_own=True),
            "skill": Told(("Draw a line.",), "column skill", "rationale"),
        },
        logps={"student": [-0.5, -0.25, -1.0], "plus": [-0.5, -0.25, -0.5], "skill": [-0.5, -0.25, -2.0]},
        strength=0.5,
        clip=0.5,
        dead_zone=0.05,
    )
    return replace(plain, **changes)


def written(folder: Path, *steps: int, resume_step: int = 0, **options: int) -> TraceWriter:
    writer = TraceWriter(folder, resume_step=resume_step, **options)
    for step in steps:
        writer.write_step([record(step, row) for row in range(2)])
    return writer


def steps_in(folder: Path) -> list[int]:
    return [entry.step for entry in read_traces(folder)]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    scalar = record(2, advantage=-0.5, logps={}, evidence=None, weight=None, correct=None)
    nothing = {name: [] for name in PER_TOKEN}
    untold = {"plus": Told((), "none")}
    empty = record(3, tokens=[], token_ids=[], told=untold, logps={"plus": []}, answer=None, gold=None, **nothing)
    writer = TraceWriter(tmp_path)
    for entry in (record(), scalar, empty):
        writer.write_step([entry])
    assert list(read_traces(tmp_path)) == list(read_traces(tmp_path / TRACE_FILE)) == [record(), scalar, empty]


def is_unpaired(text: str) -> bool:
    """No two surrogates of `text` make up a character: such a pair is that character to JSON."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


@given(
    tokens=st.lists(st.text(st.characters(), max_size=3).filter(is_unpaired), max_size=4),
    number=st.floats(allow_nan=False),
)
def test_any_text_and_any_number_survive_as_strict_json(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[str], number: float
) -> None:
    folder = tmp_path_factory.mktemp("trace")
    lists: dict[str, object] = {name: [number] * len(tokens) for name in PER_TOKEN}
    lists |= {"logps": {name: [number] * len(tokens) for name in ("student", *tokens)}}
    lists |= {"told": {name: Told((name, *tokens), name) for name in ("plus", *tokens)}}
    entry = record(tokens=tokens, token_ids=[0] * len(tokens), reward=number, **lists)
    TraceWriter(folder, decimals=400).write_step([entry])
    assert list(read_traces(folder)) == [entry]
    for line in (folder / TRACE_FILE).read_bytes().splitlines():
        json.loads(line.decode("ascii"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_half_characters_and_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    odd = record(tokens=["\ud83d", "\ude00", "\x00\u2028"], evidence=[math.inf, -math.inf, math.nan])
    TraceWriter(tmp_path).write_step([odd])
    (back,) = read_traces(tmp_path)
    assert back.tokens == odd.tokens
    assert back.evidence is not None
    assert back.evidence[:2] == [math.inf, -math.inf]
    assert math.isnan(back.evidence[2])


def test_numbers_are_rounded(tmp_path: Path) -> None:
    third = [0.125, 1 / 3, -2 / 3]
    TraceWriter(tmp_path, decimals=2).write_step([record(reward=1 / 3, evidence=third, logps={"plus": third})])
    (back,) = read_traces(tmp_path)
    assert back.reward == 0.33
    assert back.evidence == back.logps["plus"] == [0.12, 0.33, -0.67]


def test_an_image_is_stored_once(tmp_path: Path) -> None:
    blue, red = Image.new("RGB", (8, 8), "blue"), Image.new("RGBA", (8, 8), "red")
    records = [record(row=0), record(row=1), record(row=2, problem_id="p/1"), record(row=3, problem_id="p/2")]
    writer = TraceWriter(tmp_path)
    writer.write_step(records, [blue, blue.copy(), red, None])
    writer.write_step([record(2)], [blue])
    images = [entry.image for entry in read_traces(tmp_path)]
    assert images[0] == images[1] == images[4]
    assert images[3] is None
    assert {f"images/{file.name}" for file in (tmp_path / "images").iterdir()} == {images[0], images[2]}
    with Image.open(tmp_path / str(images[2])) as stored:
        assert stored.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ValueError, match="1 images for 2 records"):
        writer.write_step(records[:2], [blue])


def test_resuming_drops_what_the_killed_run_did_after_its_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, 1, 2, 3, 4)
    with (tmp_path / TRACE_FILE).open("a") as file:
        file.write('{"kind":"record","step":5,"tok')
    with pytest.warns(UserWarning, match="the unfinished last line 10 is left out"):
        assert steps_in(tmp_path) == [1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.warns(UserWarning, match="unfinished last line"):
        written(tmp_path, 3, resume_step=2)
    assert steps_in(tmp_path) == [1, 1, 2, 2, 3, 3]


def test_resuming_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    written(tmp_path, 1, 2)
    path = tmp_path / TRACE_FILE
    path.write_text(path.read_text().replace('"reward":1.0', '"reward":"much"', 1))
    with pytest.warns(UserWarning, match="line 2 is damaged: .*; left out"):
        written(tmp_path, 2, resume_step=1)
    assert steps_in(tmp_path) == [1, 2, 2]


def test_a_resumed_trace_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    written(tmp_path / "whole", 1, 2, 3, 4)
    written(tmp_path / "parts", 1, 2, 3)
    written(tmp_path / "parts", 3, 4, resume_step=2)
    whole, parts = (tmp_path / name / TRACE_FILE for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    written(tmp_path / "late", 3, resume_step=2)  # a trace that began late, or was deleted
    assert steps_in(tmp_path / "late") == [3, 3]


def test_a_fresh_run_keeps_the_trace_before_it_aside(tmp_path: Path) -> None:
    written(tmp_path, 1, 2)
    written(tmp_path, 1)
    assert steps_in(tmp_path) == [1, 1]
    assert [entry.step for entry in read_traces(tmp_path / "credit.old.jsonl")] == [1, 1, 2, 2]


def test_recording_stops_at_the_bound_with_one_note(tmp_path: Path) -> None:
    writer = written(tmp_path, 1, 2, 3, 4, 5, max_bytes=3800)
    assert not writer.active
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.*")) <= 3800
    lines = (tmp_path / TRACE_FILE).read_text().splitlines()
    assert sum('"note"' in line for line in lines) == 1
    with pytest.warns(UserWarning, match="recording stopped before step 3: the bound of 3800 bytes"):
        assert steps_in(tmp_path) == [1, 1, 2, 2]
    # The bound counts what is there already; the note goes once there is room again.
    written(tmp_path, 3, resume_step=2, max_bytes=3800)
    written(tmp_path, 3, resume_step=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert steps_in(tmp_path) == [1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="max_bytes must be at least"):
        TraceWriter(tmp_path, max_bytes=10)


def test_images_count_against_the_bound(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 100)
    writer = TraceWriter(tmp_path, max_bytes=3000)
    writer.write_step([record()], [noise])
    assert not writer.active
    assert not list((tmp_path / "images").iterdir())


def test_a_full_disk_ends_the_recording_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = written(tmp_path, 1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.warns(UserWarning, match="No space left on device"):
            writer.write_step([record(2)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            writer.write_step([record(3)])
    writer.write_step([record(4)])
    assert steps_in(tmp_path) == [1, 1]
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="credit traces end here"):
        TraceWriter(tmp_path / "file").write_step([record()])


def test_what_is_no_trace_or_a_newer_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(read_traces(tmp_path / "nowhere"))
    with monkeypatch.context() as patch:
        patch.setattr(traces, "SCHEMA", SCHEMA + 1)
        written(tmp_path, 1)
    newer = f"has schema {SCHEMA + 1}, .* reads schemas up to {SCHEMA}: upgrade cepo"
    with pytest.raises(RecordError, match=newer):
        list(read_traces(tmp_path))
    with pytest.raises(RecordError, match=newer):
        TraceWriter(tmp_path, resume_step=1)
    for content in ('{"step": 1}\n', "[]\n", "text\n", '{"kind": "header"}\n'):
        (tmp_path / "other.jsonl").write_text(content)
        with pytest.raises(RecordError, match="is not a credit trace"):
            list(read_traces(tmp_path / "other.jsonl"))


def test_traces_open_without_torch() -> None:
    code = "import cepo.reports.traces, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
