"""A recipe that says nothing reports to what is installed, into its own folder, and asks nobody to log in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cepo.runs.recipe import load_recipe, resolve_recipe
from cepo.runs.trackers import TRACKERS, keep_in_folder, with_trackers

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def only_swanlab_and_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("swanlab", "trackio"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    for name in ("swanlab", "trackio"):  # TRL would find the empty ones in later tests
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("only_swanlab_and_trackio")
def test_nothing_said_means_what_is_installed_and_a_word_stays_a_word() -> None:
    found = with_trackers({"seed": 1})["report_to"]
    assert [name for name in TRACKERS if name in ("trackio", "swanlab") or name in found] == found
    for said in ("none", "[wandb]", ["mlflow"]):
        assert with_trackers({"report_to": said})["report_to"] == said
    _, config = resolve_recipe(with_trackers({"output_dir": "runs/x", "bf16": "false"}))
    assert {"trackio", "swanlab"} <= set(config.report_to)
    assert (config.project, config.run_name) == ("cepo", "x")
    assert with_trackers({"output_dir": "runs/x", "run_name": "mine"})["run_name"] == "mine"


@pytest.mark.usefixtures("only_swanlab_and_trackio")
def test_a_broken_package_is_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swanlab" / "__init__.py").write_text("import what_it_needs")
    monkeypatch.delitem(sys.modules, "swanlab", raising=False)
    with pytest.warns(UserWarning, match="swanlab is installed but cannot be imported.*what_it_needs"):
        assert "swanlab" not in str(with_trackers({})["report_to"])


def test_a_folder_that_a_tracker_has_left_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = with_trackers({})["report_to"]
    for name in TRACKERS:
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert with_trackers({})["report_to"] == before


@pytest.mark.parametrize("folder", ["tiny", "tiny_text", "geometry3k", "geometry3k_4b", "dapo_math"])
def test_recipes_say_nothing(folder: str) -> None:
    for path in sorted((RECIPES / folder).glob("*.yaml")):
        assert "report_to" not in load_recipe(path), path


def test_nobody_is_asked_to_log_in_and_everything_lies_in_the_run_folder(tmp_path: Path) -> None:
    run, home, environment = tmp_path / "run", tmp_path / "home", {"WANDB_PROJECT": "mine"}
    home.mkdir()
    keep_in_folder(run, environment, home)
    assert environment == {
        "WANDB_PROJECT": "mine", "WANDB_MODE": "offline", "WANDB_DIR": str(run),
        "SWANLAB_PROJECT": "cepo", "SWANLAB_MODE": "offline", "SWANLAB_LOG_DIR": str(run / "swanlog"),
        "TENSORBOARD_LOGGING_DIR": str(run / "tensorboard"),
    }  # fmt: skip


def test_who_is_logged_in_stays_online(tmp_path: Path) -> None:
    for environment in (
        {"WANDB_API_KEY": "k", "SWANLAB_API_KEY": "k"},
        {"WANDB_MODE": "online", "SWANLAB_MODE": "local"},
    ):
        before = dict(environment)
        keep_in_folder(tmp_path, environment, tmp_path)
        assert {name: environment.get(name) for name in ("WANDB_MODE", "SWANLAB_MODE")} == {
            name: before.get(name) for name in ("WANDB_MODE", "SWANLAB_MODE")
        }
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password k\n")
    (tmp_path / ".swanlab").mkdir()
    (tmp_path / ".swanlab" / ".netrc").write_text("machine api.swanlab.cn\n")
    environment = {}
    keep_in_folder(tmp_path, environment, tmp_path)
    assert not {"WANDB_MODE", "SWANLAB_MODE"} & set(environment)
