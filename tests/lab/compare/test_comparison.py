"""The order of things, with trainings and evaluations that are played: see `PlayedJobs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cepo.errors import RunFolderError, SettingError
from cepo.lab.compare.comparison import compare
from tests.lab.compare.conftest import PlayedJobs, Write

TUNE = {"learning_rate": ["1e-4", "1e-3", "1e-2"], "seeds": [5], "limit": 4, "by": "final"}


class Said(list[str]):
    """What a comparison said, line by line."""

    def __call__(self, line: str) -> None:
        self.append(line)


def table(out: Path) -> dict[str, Any]:
    return json.loads((out / "table.json").read_text())


def means(out: Path) -> dict[str, float]:
    return {cell["row"]: cell["mean"] for cell in table(out)["accuracy"] if cell["column"] == "average"}


def test_dry_run_writes_nothing(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    said = Said()
    control = {"name": "fast", "method": "grpo", "learning_rate": 1, "differs": {"learning_rate": "the control"}}
    config = write(arms=[{"name": "grpo", "method": "grpo"}, control])
    assert compare(config, tmp_path / "out", None, True, said) == 0
    assert not (tmp_path / "out").exists()
    assert "differs with a reason: fast: learning_rate = 1 (the control)" in said
    assert sum("step 0/2" in line for line in said) == 4


def test_dry_run_reads_the_data(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.jsonl"):
        compare(write(overrides={"data": "/nowhere.jsonl"}), tmp_path / "out", None, True, Said())


def test_a_whole_comparison_and_nothing_twice(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    played.accuracy = lambda run, split: {"grpo-seed0": 0.25, "grpo-seed1": 0.5}.get(run, 0.75)
    said, out = Said(), tmp_path / "out"
    assert compare(write(), out, None, False, said) == 0
    assert played.trained == ["grpo-seed0", "grpo-seed1", "cepo-seed0", "cepo-seed1"]
    assert sorted(played.evaluated) == sorted(
        ["base@0", *(f"{name}@{step}" for name in played.trained for step in (1, 2))]
    )
    assert means(out) == {"base": 0.75, "grpo": 0.375, "cepo": 0.75}
    contrast = table(out)["contrasts"][0]
    assert contrast["seeds"]["mean"] == 0.375
    assert said[-2].startswith("no difference shown between cepo and grpo: +37.5 points")
    last = said.index(table(out)["power"]["words"])
    assert said[last:-1] == table(out)["words"][: len(said) - last - 1]
    assert said[last].startswith("The power of this comparison is unknown")
    assert any(line.startswith("cepo to grpo's final: ") for line in said)
    text = (out / "table.md").read_text()
    assert "| grpo | 37.5 ± 17.7 | 37.5 ± 17.7 [-121.3, 196.3] |" in text
    assert said[-2] in text
    for name in ("table.csv", "cost.md", "cost.csv", "diagnostics.md", "diagnostics.csv"):
        assert (out / name).stat().st_size > 0
    for name in ("accuracy", "area", "difference", "evidence", "distribution"):
        assert all((out / f"{name}.{ending}").stat().st_size > 0 for ending in ("png", "svg", "csv"))

    counts = len(played.trained), len(played.evaluated)
    assert compare(tmp_path / "experiment.yaml", out, None, False, Said()) == 0
    assert (len(played.trained), len(played.evaluated)) == counts


def test_a_failed_run_is_missing_until_it_is_made(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    played.fails = {"cepo-seed1"}
    said, out = Said(), tmp_path / "out"
    assert compare(write(), out, None, False, said) == 1
    assert "    ValueError: no" in said
    assert said[-1].startswith("failed: cepo-seed1: it ended with exit code 1; see ")
    assert means(out)["cepo"] is None
    assert "| cepo | missing | missing |" in (out / "table.md").read_text()
    assert table(out)["missing"][0].startswith("cepo, seed 1 is missing: it ended with exit code 1")
    assert "nothing can be said of cepo and grpo: runs of cepo are missing." in said
    assert "cepo" not in (out / "accuracy.csv").read_text()
    assert "missing: cepo" in (out / "accuracy.svg").read_text()

    played.fails, played.trained = set(), []
    assert compare(tmp_path / "experiment.yaml", out, None, False, Said()) == 0
    assert played.trained == ["cepo-seed1"]
    assert means(out)["cepo"] == 0.5


def test_only_some_arms(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    out = tmp_path / "out"
    assert compare(write(), out, ["grpo"], False, Said()) == 0
    assert played.trained == ["grpo-seed0", "grpo-seed1"]
    assert table(out)["missing"] == ["cepo, seed 0 is missing: not run", "cepo, seed 1 is missing: not run"]
    with pytest.raises(SettingError, match="no arm 'opsd'"):
        compare(tmp_path / "experiment.yaml", out, ["grpo", "opsd"], False, Said())


def test_another_config_is_refused_before_anything_runs(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    compare(write(), tmp_path / "out", None, False, Said())
    trained = len(played.trained)
    with pytest.raises(RunFolderError, match=r"max_steps=2 \(now 3\)"):
        compare(write(overrides={"max_steps": 3}), tmp_path / "out", None, False, Said())
    assert len(played.trained) == trained


def test_each_arm_takes_its_best_value_on_validation(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    """Validation favours 1e-3 for grpo; the held-out split, which favours 1e-2, has no say. Ties: the first."""

    def accuracy(run: str, split: str) -> float:
        if split == "held_out":
            return 0.75 if "1e-2" in run else 0.25
        return {"1e-4": 0.5, "1e-3": 0.75, "1e-2": 0.25}[run.split("=")[1][:4]] if "grpo" in run else 0.5

    played.accuracy = accuracy
    out = tmp_path / "out"
    assert compare(write(tune=TUNE), out, None, False, Said()) == 0
    assert table(out)["chosen"] == {"grpo": "1e-3", "cepo": "1e-4"}
    assert table(out)["tuning"]["grpo"] == {"1e-4": 0.5, "1e-3": 0.75, "1e-2": 0.25}
    candidates = [f"{arm}-learning_rate={value}-seed5" for arm in ("grpo", "cepo") for value in TUNE["learning_rate"]]
    finals = [f"grpo-learning_rate=1e-3-seed{seed}" for seed in (0, 1)]
    finals += [f"cepo-learning_rate=1e-4-seed{seed}" for seed in (0, 1)]
    assert played.trained == candidates + finals
    assert means(out)["grpo"] == 0.25
    assert "| grpo | 1e-3 | 50.0 | 75.0 | 25.0 |" in (out / "table.md").read_text()


def test_without_all_candidates_nothing_is_chosen(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    played.fails = {"cepo-learning_rate=1e-2-seed5"}
    out = tmp_path / "out"
    assert compare(write(tune=TUNE), out, None, False, Said()) == 1
    assert "cepo" not in table(out)["chosen"]
    assert not any("cepo" in name and "seed0" in name for name in played.trained)
    assert "cepo, seed 0 is missing: no value could be chosen for it" in table(out)["missing"]
    assert "| cepo | none | 50.0 | 50.0 | missing |" in (out / "table.md").read_text()


def test_area_on_validation_tunes_a_method_and_its_controls_with_it(
    write: Write, tmp_path: Path, played: PlayedJobs
) -> None:
    """1e-2 ends best, 1e-3 has the larger area; the control trains at its method's value, without trials of its own."""
    areas = {"1e-3": {1: 0.75, 2: 0.5}, "1e-2": {1: 0.25, 2: 0.75}, "1e-4": {1: 0.25, 2: 0.25}}
    played.accuracy = lambda run, split: 0.5
    played.accuracy_at = lambda run, step: areas[run.split("=")[1][:4]].get(step, 0.5) if "cepo" in run else None
    arms = [
        {"name": "grpo", "method": "grpo", "tune": {"learning_rate": ["1e-3"]}},
        {"name": "cepo", "method": "cepo", "controls": ["mass"]},
    ]
    out, said = tmp_path / "out", Said()
    assert compare(write(tune=TUNE | {"by": "area", "seeds": [5, 6]}, arms=arms), out, None, False, said) == 0
    assert table(out)["chosen"] == {"grpo": "1e-3", "cepo": "1e-3", "cepo+mass": "1e-3"}
    assert table(out)["tuning"] == {"cepo": {"1e-4": 0.3125, "1e-3": 0.625, "1e-2": 0.4375}}
    tried = {name for name in played.trained if "seed5" in name or "seed6" in name}
    assert len(tried) == 6
    assert not any("grpo" in name or "mass" in name for name in tried)
    assert "cepo+mass-learning_rate=1e-3-seed0" in played.trained
    text = (out / "table.md").read_text()
    assert "## Area on validation at seeds 5, 6, by learning_rate (%)" in text
    assert "| cepo | 1e-3 | 31.2 | 62.5 | 43.8 |" in text
    assert "| cepo+mass | 1e-3 |  |  |  |" in text
    assert table(out)["tune"]["seeds"] == [5, 6]


def test_a_choice_at_an_end_of_the_grid_is_told(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    played.accuracy = lambda run, split: 0.75 if "1e-2" in run or "cepo-learning_rate=1e-3" in run else 0.25
    said = Said()
    compare(write(tune=TUNE), tmp_path / "out", None, False, said)
    (line,) = [line for line in said if "at an end" in line]
    assert line.startswith("grpo: 1e-2 is at an end of what was tried (1e-4, 1e-3, 1e-2): its best may lie beyond")
    assert line in (tmp_path / "out" / "table.md").read_text()


def test_an_oracle_and_controls_calibrate_the_table(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    """Five seeds, an oracle far above, a method no better than its control: power, and no claim for the method."""
    ends = {"grpo": 0.25, "oracle": 1.0, "cepo": 0.75, "cepo+mass": 0.75}
    played.accuracy = lambda run, split: ends.get(run.partition("-")[0], 0.25)
    arms = [
        {"name": "grpo", "method": "grpo"},
        {"name": "cepo", "method": "cepo", "controls": ["mass"]},
        {"name": "oracle", "method": "cepo", "credit_clip": 0.9, "role": "oracle"},
    ]
    out, said = tmp_path / "out", Said()
    assert compare(write(arms=arms, seeds=[0, 1, 2, 3, 4], evaluate={"limit": 8}), out, None, False, said) == 0
    content = table(out)
    assert content["power"]["claims"] is True
    assert said[said.index(content["power"]["words"])].startswith("This bed has power for claims: oracle (+")
    assert any("but not shown above its own control cepo+mass (" in line for line in said)
    text = (out / "table.md").read_text()
    assert text.splitlines()[2] == f"**{content['power']['words']}**"
    lines = text.split("## Area under")[1].split("## Steps")[0].splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert rows[1:] == ["grpo", "oracle", "cepo", "cepo+mass"]


def test_a_sweep_has_its_figure(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    played.accuracy = lambda run, split: 0.25 if "0.1" in run else 0.5
    out = tmp_path / "out"
    sweep = [{"field": "credit_clip", "values": [0.1, 0.5], "arm": {"method": "cepo"}}]
    assert compare(write(sweep=sweep, arms=[{"name": "grpo", "method": "grpo"}]), out, None, False, Said()) == 0
    lines = (out / "sweep_credit_clip.csv").read_text().splitlines()
    assert lines[1].startswith("credit_clip=0.1,0.1,0.25,0.25,0.25")
    assert "grpo" in (out / "sweep_credit_clip.svg").read_text()


def test_equal_runs_of_another_comparison_are_taken(write: Write, tmp_path: Path, played: PlayedJobs) -> None:
    """Same config and seed: copied with its generations. Another clip is another run, whatever its name."""
    first, out = tmp_path / "first", tmp_path / "out"
    arms = [{"name": "base-line", "method": "grpo"}, {"name": "cepo", "method": "cepo", "credit_clip": 0.1}]
    compare(write(arms=arms, baseline="base-line"), first, None, False, Said())
    (first / "runs" / "base-line-seed0" / "optimizer.pt").write_text("much")
    played.trained, played.evaluated = [], []
    said = Said()
    assert compare(write(), out, None, True, said, [first]) == 0
    assert sum("finished in" in line for line in said) == 2
    assert not out.exists()
    assert compare(tmp_path / "experiment.yaml", out, None, False, said, [first]) == 0
    assert played.trained == ["cepo-seed0", "cepo-seed1"]
    assert not any(name.startswith("grpo") for name in played.evaluated)
    assert f"grpo-seed1: taken from {first / 'runs' / 'base-line-seed1'}" in said
    assert means(out)["grpo"] == means(first)["base-line"]
    assert not (out / "runs" / "grpo-seed0" / "optimizer.pt").exists()
    with pytest.raises(RunFolderError, match=r"--reuse .*nowhere"):
        compare(tmp_path / "experiment.yaml", out, None, False, Said(), [tmp_path / "nowhere"])
