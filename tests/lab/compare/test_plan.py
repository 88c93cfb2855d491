"""Runs that may not be compared are refused before anything is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cepo.errors import RunFolderError, SettingError
from cepo.lab.compare.experiment import load_experiment
from cepo.lab.compare.plan import Plan, check_data, check_recorded, make_plan, record
from tests.lab.compare.conftest import Write

GRPO, CEPO = {"name": "grpo", "method": "grpo"}, {"name": "cepo", "method": "cepo"}
TUNE = {"learning_rate": ["1e-4", "1e-3"], "seeds": [5]}


def planned(path: Path, out: Path) -> Plan:
    return make_plan(load_experiment(path), out)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arms": [GRPO, CEPO | {"learning_rate": "5e-3"}]}, "learning_rate differs without a reason"),
        ({"arms": [GRPO, CEPO | {"beta": 0.1}]}, "beta differs without a reason"),
        (
            {"arms": [GRPO, CEPO | {"learning_rate": "1.0e-3", "differs": {"learning_rate": "why"}}]},
            "learning_rate is said to differ, but is 0.001 everywhere",
        ),
        ({"arms": [GRPO, CEPO | {"differs": {"credit_clip": "why"}}]}, "a credit field, which needs no reason"),
        ({"arms": [GRPO, CEPO | {"differs": {"learning_rat": "why"}}]}, "no field of a recipe"),
        ({"arms": [GRPO, CEPO | {"credit_clap": 1}]}, "arm 'cepo': unknown field 'credit_clap'; did you mean"),
        ({"arms": [GRPO, CEPO | {"method": "cepoo"}]}, "arm 'cepo': unknown method 'cepoo' .*did you mean 'cepo'"),
        ({"arms": [GRPO, CEPO | {"credit_clip": 2}]}, "arm 'cepo': .*eps_w"),
        ({"arms": [GRPO, CEPO | {"seed": 3}]}, "arm 'cepo': seed is set by the comparison; see seeds"),
        ({"overrides": {"save_steps": 5}}, "overrides: save_steps is set by the comparison; see checkpoint_steps"),
        ({"overrides": {"max_steps": -1, "num_train_epochs": 1}}, "set max_steps"),
        ({"evaluate": {"split": "train"}}, "evaluate: geometry/train is what the arms are trained on"),
        ({"tune": TUNE | {"on": "held_out"}}, "'held_out' is used for the table"),
        ({"tune": TUNE | {"on": "train"}}, "'train' is used for training"),
        ({"tune": {"learning_rat": ["1e-4"], "seeds": [5]}}, "unknown field 'learning_rat'"),
        ({"tune": TUNE | {"learning_rate": ["fast"]}}, "learning_rate"),
        ({"tune": TUNE, "arms": [GRPO | {"learning_rate": 1}]}, "sets learning_rate, which is tuned"),
        ({"tune": TUNE, "arms": [GRPO | {"tune": {"learning_rate": ["fast"]}}]}, "learning_rate"),
        ({"arms": [GRPO | {"controls": ["mass"]}]}, r"arm 'grpo\+mass': credit_control='mass' takes the credit"),
    ],
)
def test_refusals(write: Write, tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        planned(write(**changed), tmp_path / "out")


def test_a_stated_reason_is_kept(write: Write, tmp_path: Path) -> None:
    control = {"name": "fast", "method": "grpo", "learning_rate": "5e-3", "differs": {"learning_rate": "the control"}}
    plan = planned(write(arms=[GRPO, control]), tmp_path)
    assert plan.reasons == ("fast: learning_rate = 5e-3 (the control)",)
    assert plan.run("fast", 0).config.learning_rate == 5e-3


def test_a_run_is_the_arm_at_a_seed_and_keeps_its_checkpoints(write: Write, tmp_path: Path) -> None:
    plan = planned(write(tune=TUNE, overrides={"temperature": 0.9}), tmp_path / "out")
    run = plan.run("cepo", 1, "1e-4")
    assert run.folder == tmp_path / "out" / "runs" / "cepo-learning_rate=1e-4-seed1"
    config = run.config
    assert (config.method, config.seed, config.learning_rate, config.temperature) == ("cepo", 1, 1e-4, 0.9)
    assert (config.save_steps, config.save_total_limit, config.max_steps) == (1, None, 2)
    assert run.run_config.eval_data is None
    assert run.hash != plan.run("cepo", 0, "1e-4").hash
    assert run.hash == planned(tmp_path / "experiment.yaml", tmp_path / "elsewhere").run("cepo", 1, "1e-4").hash


def test_a_method_finds_what_it_needs_or_says_so(write: Write, tmp_path: Path) -> None:
    check_data(planned(write(), tmp_path), ["grpo", "cepo"])
    plan = planned(write(overrides={"answer_column": "gold"}), tmp_path)
    check_data(plan, ["grpo"])
    with pytest.raises(SettingError, match=r"arm 'cepo' \(method cepo\): .* no column 'gold'"):
        check_data(plan, ["grpo", "cepo"])
    with pytest.raises(ValueError, match="accura"):
        check_data(planned(write(overrides={"rewards": ["accurate"]}), tmp_path), ["grpo"])
    with pytest.raises(ValueError, match="nowhere"):
        check_data(planned(write(overrides={"data": "/nowhere.jsonl"}), tmp_path), ["grpo"])


def test_a_changed_config_is_refused_field_by_field(write: Write, tmp_path: Path) -> None:
    run = planned(write(), tmp_path / "out").run("cepo", 0)
    check_recorded(run)
    assert "learning_rate" in record(run).read_text()
    check_recorded(run)
    moved = planned(write(overrides={"learning_rate": 2e-3}, checkpoint_steps=2), tmp_path / "out").run("cepo", 0)
    with pytest.raises(RunFolderError) as caught:
        check_recorded(moved)
    for words in ("learning_rate=0.001 (now 0.002)", "save_steps=1.0 (now 2)", run.hash, moved.hash):
        assert words in str(caught.value)


def test_other_weights_and_other_defaults_are_other_runs(write: Write, tmp_path: Path) -> None:
    run = planned(write(), tmp_path / "out").run("cepo", 0)
    record(run)
    path = run.folder / "plan.json"
    then = json.loads(path.read_text())
    assert then["resolved"]["credit_clip"] == 0.5  # the preset's, though no recipe names it
    for name, value in (("credit_clip", 0.4), ("model_weights", "other")):
        changed = {**then, "resolved": then["resolved"] | {name: value}}
        path.write_text(json.dumps(changed))
        with pytest.raises(RunFolderError, match=f"{name}='?{value}'? .now"):
            check_recorded(run)
    without = {name: value for name, value in then["resolved"].items() if name != "trace_groups"}
    path.write_text(json.dumps({**then, "resolved": without}))
    check_recorded(run)  # a field that the code has gained since


def test_a_folder_of_something_else_is_left_alone(write: Write, tmp_path: Path) -> None:
    run = planned(write(), tmp_path / "out").run("cepo", 0)
    run.folder.mkdir(parents=True)
    (run.folder / "lock").touch()
    check_recorded(run)
    (run.folder / "summary.json").write_text("{}")
    with pytest.raises(RunFolderError, match="holds files of something else"):
        check_recorded(run)


@pytest.mark.usefixtures("own_registrations")
def test_another_rule_under_the_same_name_is_another_run(write: Write, tmp_path: Path) -> None:
    rule = tmp_path / "rule.py"
    text = """from cepo import Rule, credit_from, register
register(Rule("mine", "mine", ("plus",), lambda inputs: credit_from(inputs, inputs.logp("plus"))))
"""
    rule.write_text(text)
    config = write(arms=[GRPO, {"name": "mine", "method": "mine", "method_files": [str(rule)]}])
    run = planned(config, tmp_path / "out").run("mine", 0)
    record(run)
    check_recorded(planned(config, tmp_path / "out").run("mine", 0))
    rule.write_text(text + "# changed\n")
    with pytest.raises(RunFolderError, match=r"method_files=\['rule\.py"):
        check_recorded(planned(config, tmp_path / "out").run("mine", 0))
