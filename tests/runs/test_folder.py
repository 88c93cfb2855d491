"""A run folder is continued by the run that it holds, and by no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cepo.data import digest as digest_module
from cepo.data.digest import digest
from cepo.errors import RunFolderError
from cepo.models.embedded import EMBEDDED
from cepo.runs.folder import RunFolder, resolved_config, write_atomically
from cepo.runs.identity import differences, identify
from cepo.runs.recipe import resolve_recipe
from tests.chaos.events import POINTS

FIELDS = {"method": "cepo", "learning_rate": "1e-5", "bf16": "false", "max_steps": "4"}


def settings(folder: Path, **values: Any) -> tuple[Any, Any]:
    return resolve_recipe({"output_dir": str(folder), **FIELDS, **values})


def start(folder: Path, **values: Any) -> None:
    run = settings(folder, **values)
    RunFolder(folder).write_provenance(*run, identify(*run))


def go_on(folder: Path, **values: Any) -> None:
    run = settings(folder, **values)
    RunFolder(folder).check_same_run(identify(*run), resolved_config(*run))


FREE = [{}, {"max_steps": "8"}, {"save_steps": "2"}, {"eval_limit": "7"}, {"trace_groups": "0"}]
OTHER = [
    ("method", "grpo"),
    ("learning_rate", "2e-5"),
    ("credit_clip", "0.2"),
    ("preset", "paper"),
    ("seed", "7"),
    ("num_generations", "4"),
    ("rewards", ["format_reward"]),
    ("lora_rank", "4"),
    ("data_limit", "10"),
    ("generation_kwargs", {"top_p": "0.9"}),
]


@pytest.mark.parametrize("old", [False, True], ids=["", "a folder without an identity"])
@pytest.mark.parametrize("free", FREE, ids=str)
def test_the_same_run_goes_on(free: dict[str, str], old: bool, tmp_path: Path) -> None:
    go_on(tmp_path)
    start(tmp_path)
    if old:
        (tmp_path / "identity.json").unlink()
    go_on(tmp_path, **free)


@pytest.mark.parametrize("old", [False, True], ids=["", "a folder without an identity"])
@pytest.mark.parametrize(("field", "value"), OTHER, ids=lambda value: str(value))
def test_another_run_is_refused(field: str, value: Any, old: bool, tmp_path: Path) -> None:
    start(tmp_path)
    if old:
        (tmp_path / "identity.json").unlink()
    with pytest.raises(RunFolderError, match=rf"run with other settings: .*{field}=.*\(now .*another --output_dir"):
        go_on(tmp_path, **{field: value})


def test_a_changed_rule_file_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.runs.recipe.run_method_files", lambda paths: None)
    rule = tmp_path / "rule.py"
    rule.write_text("strength = 1\n")
    (tmp_path / "run").mkdir()
    start(tmp_path / "run", method_files=[str(rule)])
    assert (tmp_path / "run" / "rule.py").read_text() == rule.read_text()
    go_on(tmp_path / "run", method_files=[str(rule)])
    moved = tmp_path / "moved" / "rule.py"
    moved.parent.mkdir()
    shutil.copy(rule, moved)
    go_on(tmp_path / "run", method_files=[str(moved)])
    rule.write_text("strength = 2\n")
    with pytest.raises(RunFolderError, match=r"the file rule\.py \(method_files\) has changed"):
        go_on(tmp_path / "run", method_files=[str(rule)])
    with pytest.raises(RunFolderError, match=r"the file rule\.py \(method_files\) is gone"):
        go_on(tmp_path / "run")


def test_other_data_under_the_same_path_are_another_run(tmp_path: Path) -> None:
    folder, data = tmp_path / "run", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    (data / "train.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n')
    (data / "notes.txt").write_text("mine")
    start(folder, data=str(data))
    (data / "notes.txt").write_text("other notes")
    go_on(folder, data=str(data))
    (data / "train.jsonl").write_text('{"prompt": "1+1", "answer": "3"}\n')
    (data / "more.jsonl").write_text("{}\n")
    with pytest.raises(
        RunFolderError, match=r"more\.jsonl \(data_files\) is new, the file train\.jsonl \(data_files\) has changed"
    ):
        go_on(folder, data=str(data))


def test_other_weights_under_the_same_path_are_another_run(tmp_path: Path) -> None:
    folder, model = tmp_path / "run", tmp_path / "model"
    folder.mkdir()
    shutil.copytree(EMBEDDED, model)
    start(folder, model=str(model))
    go_on(folder, model=str(model))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(RunFolderError, match=r"the file model\.safetensors \(model_files\) has changed"):
        go_on(folder, model=str(model))


def test_a_field_that_a_later_version_has_added_counts_where_it_is_used(tmp_path: Path) -> None:
    start(tmp_path)
    file = RunFolder(tmp_path).identity
    before = json.loads(file.read_text())
    del before["wrong_below"]
    file.write_text(json.dumps(before))
    go_on(tmp_path)
    with pytest.raises(RunFolderError, match=r"wrong_below=None \(now 0.3\)"):
        go_on(tmp_path, wrong_below="0.3")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"identity\.json is not JSON"):
        go_on(tmp_path)
    (tmp_path / "identity.json").unlink()
    (tmp_path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(RunFolderError, match=r"config\.yaml is not YAML .*line 2"):
        go_on(tmp_path)


@pytest.mark.parametrize("name", ["identity.json", "config.yaml", "summary.json"])
def test_a_flipped_bit_in_a_record_is_told(name: str, tmp_path: Path) -> None:
    """Found by `make chaos` (event 141): what is no text any more was told as a bug in cepo."""
    start(tmp_path)
    folder = RunFolder(tmp_path)
    folder.summary.write_text('{"state": "finished", "steps": 3, "train_seconds": 1.0}')
    if name == "config.yaml":
        folder.identity.unlink()
    whole = (tmp_path / name).read_bytes()
    readers: dict[str, Callable[[], object]] = {
        "identity.json": lambda: go_on(tmp_path),
        "config.yaml": folder.read_config,
        "summary.json": folder.read_summary,
    }
    readers[name]()
    told = 0
    for place in range(0, len(whole), max(1, len(whole) // 12)):
        for bit in (0, 7):
            (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                readers[name]()
            except RunFolderError:
                told += 1
    assert told >= 12  # the high bit of every place, at least
    (tmp_path / name).write_text("[]")
    with pytest.raises(RunFolderError, match="the run folder was damaged"):
        readers[name]()


def test_the_points_of_chaos_are_there() -> None:
    """Two had moved to another module: events at them did nothing, and were counted as survived."""
    for name, (owner, attribute) in POINTS.items():
        assert callable(getattr(owner, attribute)), name


def test_differences_are_named_one_by_one() -> None:
    before = {"a": 1, "b": {"x": 1, "y": 2}, "gone": 0, "data_files": {"f": "1"}}
    now = {"a": 1, "b": {"x": 1, "y": 3}, "new": 0, "data_files": {"g": "1"}}
    files = ["the file f (data_files) is gone", "the file g (data_files) is new"]
    assert differences(before, before) == []
    assert differences(before, now) == ["b.y=2 (now 3)", *files]
    assert differences(before, now, named=["gone", "new"]) == [
        "b.y=2 (now 3)", *files, "gone=0 (now None)", "new=None (now 0)",
    ]  # fmt: skip


def test_a_large_file_is_sampled_to_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 40)
    whole = digest(file)
    for name, value in (("_WHOLE_BYTES", 1000), ("_SAMPLES", 5), ("_SAMPLE_BYTES", 16)):
        monkeypatch.setattr(digest_module, name, value)
    sampled, content = digest(file), bytearray(file.read_bytes())
    assert sampled != whole
    for place in (0, len(content) - 1, (len(content) - 16) // 2):
        other = content.copy()
        other[place] ^= 1
        file.write_bytes(other)
        assert digest(file) != sampled
    file.write_bytes(content + b"\0")
    assert digest(file) != sampled


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    write_atomically(file, "whole")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "half \ud800")
    assert file.read_text() == "whole"


def test_a_folder_says_what_was_asked_for_and_with_what(tmp_path: Path) -> None:
    start(tmp_path, credit_clip="0.3")
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (values["learning_rate"], values["credit"]["credit_clip"]) == (1e-5, 0.3)
    assert json.loads((tmp_path / "versions.json").read_text())["torch"]
    assert not list(tmp_path.glob("*.part"))
