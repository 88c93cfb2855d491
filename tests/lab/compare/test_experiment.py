"""What an experiment may say, and one clear error for what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cepo.errors import SettingError
from cepo.lab.compare.experiment import load_experiment
from cepo.lab.compare.plan import make_plan
from tests.lab.compare.conftest import Write

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
GRPO, CEPO = {"name": "grpo", "method": "grpo"}, {"name": "cepo", "method": "cepo"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seeds": [0, 1, 0]}, "experiment.yaml: seeds: '0' is given twice"),
        ({"seeds": ["first"]}, r"seeds\[0\]: input should be a valid integer, .*, got 'first'"),
        ({"seeds": [-1]}, r"seeds\[0\]: input should be greater than or equal to 0, got '-1'"),
        ({"seeds": []}, "seeds: tuple should have at least 1 item"),
        ({"seeds": None}, "experiment.yaml: seeds is missing"),
        ({"sedes": [0]}, "sedes: unknown field; did you mean 'seeds'?"),
        ({"arm": [GRPO]}, "arm: unknown field; did you mean 'arms'?"),
        ({"arms": [GRPO, GRPO]}, "'grpo' is given twice"),
        ({"arms": [{"method": "grpo"}]}, r"arms\[0\].name is missing"),
        ({"arms": [{"name": "a/b", "method": "grpo"}]}, r"arms\[0\].name: 'a/b' names a folder"),
        ({"arms": [{"name": "base", "method": "grpo"}]}, "the untrained model"),
        (
            {"arms": [GRPO | {"differs": "because"}]},
            "differs: input should be a valid dictionary, got 'because'",
        ),
        ({"arms": ["grpo"]}, r"arms\[0\]: input should be a valid dictionary .*, got 'grpo'"),
        ({"arms": None}, "baseline: 'grpo' is no arm; there are: none"),
        ({"baseline": "gpro"}, "baseline: 'gpro' is no arm; there are: grpo, cepo"),
        ({"evaluate": {"limits": 8}}, "evaluate.limits: unknown field; did you mean 'limit'"),
        ({"evaluate": {"limit": 8, "checkpoint_limit": 9}}, "evaluate: checkpoint_limit=9 is more than limit=8"),
        ({"evaluate": {"temperature": "hot"}}, "evaluate.temperature: input should be a valid number, .* got 'hot'"),
        ({"evaluate": {"temperature": "inf"}}, "evaluate.temperature: input should be a finite number, got 'inf'"),
        ({"evaluate": {"temperature": 0, "samples": 2}}, "samples=2 would be equal"),
        (
            {"tune": {"in": "x", "learning_rate": [1], "seeds": [5]}},
            "tune: it tunes one field, .*, got in, learning_rate",
        ),
        ({"tune": {"seeds": [5]}}, "tune: it tunes one field, `FIELD: .values.`, got none"),
        ({"tune": {"learning_rate": [1]}}, "tune.seeds is missing"),
        ({"tune": {"learning_rate": [], "seeds": [5]}}, "tune.values: tuple should have at least 1 item"),
        ({"tune": {"learning_rate": [1], "seeds": [1, 5, 0]}}, "tune: seeds 0, 1 are reported; .*: tune on others"),
        ({"tune": {"learning_rate": [1], "seeds": [5], "by": "luck"}}, "tune.by: input should be 'area' or 'final'"),
        ({"arms": [GRPO | {"tune": {"learning_rate": [1]}}]}, "arm 'grpo': tune: .* is not what .* tunes: nothing"),
        (
            {"arms": [GRPO | {"tune": {"beta": [1]}}], "tune": {"learning_rate": [1], "seeds": [5]}},
            "tune: 'beta' is not what the experiment tunes: learning_rate",
        ),
        (
            {"arms": [GRPO, CEPO | {"role": "judge"}]},
            r"arms\[1\].role: input should be 'method', 'oracle' or 'control'",
        ),
        ({"arms": [GRPO, CEPO | {"controls": ["shuffled"]}]}, r"controls\[0\]: input should be 'permuted', 'mass' or"),
        ({"arms": [GRPO, CEPO | {"controls": ["mass", "mass"]}]}, "'mass' is given twice"),
        ({"arms": [GRPO, CEPO | {"of": "grpo"}]}, "of: 'grpo' is what a control is of; say `role: control`"),
        ({"arms": [GRPO, CEPO | {"role": "control", "controls": ["mass"]}]}, "a control has no controls"),
        ({"arms": [GRPO, CEPO | {"role": "control", "of": "sdpo"}]}, "of: 'sdpo' is no method or oracle"),
        ({"arms": [GRPO | {"role": "oracle"}, CEPO]}, "baseline: 'grpo' has the role oracle; it is the baseline"),
        ({"target": 50}, "target: input should be less than 1, got '50'"),
        ({"sweep": [{"field": "credit_clip", "values": [0.1, 0.1], "arm": {}}]}, r"values: '0.1' is given twice"),
        ({"sweep": [{"field": "data", "values": ["a/b"], "arm": {}}]}, "name: 'data=a/b' names a folder"),
        ({"jobs": 0}, "jobs: input should be greater than 0, got '0'"),
        ({"overrides": [1]}, r"overrides: input should be a valid dictionary, got \['1'\]"),
    ],
)
def test_refusals(write: Write, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        load_experiment(write(**changed))


def test_no_such_experiment(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no experiment"):
        load_experiment(tmp_path / "none.yaml")


def test_defaults_and_a_sweep_that_becomes_arms(write: Write) -> None:
    sweep = [{"field": "credit_clip", "values": [0.1, 0.5], "arm": {"method": "cepo"}}]
    experiment = load_experiment(write(sweep=sweep))
    assert [arm.name for arm in experiment.arms] == ["grpo", "cepo", "credit_clip=0.1", "credit_clip=0.5"]
    assert experiment.arms[2].fields == {"method": "cepo", "credit_clip": "0.1"}
    assert (experiment.baseline, experiment.jobs, experiment.seeds) == ("grpo", 2, (0, 1))
    assert (experiment.evaluate.split, experiment.evaluate.temperature) == ("held_out", 1.0)
    with pytest.raises(SettingError, match="no arm 'opsd'; there are grpo, cepo"):
        experiment.arm("opsd")


def test_controls_become_arms_behind_their_method(write: Write) -> None:
    differs = {"beta": "why"}
    cepo = CEPO | {"beta": 1, "differs": differs, "controls": ["permuted", "mass"]}
    plain = {"name": "plain", "method": "scaled", "role": "control", "of": "cepo"}
    oracle = {"name": "oracle", "method": "cepo", "role": "oracle", "controls": ["random"]}
    experiment = load_experiment(write(arms=[GRPO, cepo, plain, oracle]))
    names = ["grpo", "cepo", "cepo+permuted", "cepo+mass", "plain", "oracle", "oracle+random"]
    assert [arm.name for arm in experiment.arms] == names
    mass = experiment.arm("cepo+mass")
    assert mass.fields == {"method": "cepo", "beta": "1", "credit_control": "mass"}
    assert (mass.role, mass.of, mass.differs) == ("control", "cepo", differs)
    assert experiment.controls_of() == {"cepo": ("cepo+permuted", "cepo+mass", "plain"), "oracle": ("oracle+random",)}
    roles = ["baseline", "method", "control", "control", "control", "oracle", "control"]
    assert list(experiment.roles.values()) == roles


def test_a_control_takes_its_method_s_values_and_an_arm_may_have_its_own(write: Write) -> None:
    cepo = CEPO | {"controls": ["mass"], "tune": {"learning_rate": ["1e-3", "4e-3"]}}
    own = {"name": "own", "method": "scaled", "role": "control", "of": "cepo", "tune": {"learning_rate": ["1e-5"]}}
    tune = {"learning_rate": ["1e-4", "1e-3"], "seeds": [5]}
    experiment = load_experiment(write(arms=[GRPO, cepo, own], tune=tune))
    grids = {arm.name: (experiment.tuned_as(arm).name, experiment.grid(arm)) for arm in experiment.arms}
    assert grids == {
        "grpo": ("grpo", ("1e-4", "1e-3")),
        "cepo": ("cepo", ("1e-3", "4e-3")),
        "cepo+mass": ("cepo", ("1e-3", "4e-3")),
        "own": ("own", ("1e-5",)),
    }
    assert experiment.tune is not None
    assert (experiment.tune.by, experiment.tune.on, experiment.tune.seeds) == ("area", "validation", (5,))


def test_experiments_extend_each_other(write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "other.yaml").write_text("extends: experiment.yaml\nseeds: [7]\n")
    experiment = load_experiment(tmp_path / "other.yaml")
    assert experiment.seeds == (7,)
    assert len(experiment.arms) == 2


def test_a_recipe_is_relative_to_the_file_that_states_it(write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "other.yaml"
    path.write_text("extends: ../experiment.yaml\nseeds: [7]\n")
    assert load_experiment(path).recipe.resolve() == (tmp_path / "base.yaml").resolve()


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_repositorys_experiments_are_comparable(path: Path, tmp_path: Path) -> None:
    if path.stem == "protocol":
        assert "arms" not in path.read_text()  # what the others extend
        return
    plan = make_plan(load_experiment(path), tmp_path)
    assert len(plan.experiment.seeds) >= 3
    assert len(plan.experiment.arms) >= 3
