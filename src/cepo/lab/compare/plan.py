"""The runs that an experiment means, and whether they may be compared: checked before anything is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

import yaml
from datasets import Dataset

from cepo.credit.rules import get_method
from cepo.data.datasets import load_data
from cepo.data.rewards import get_reward
from cepo.errors import RunFolderError, SettingError
from cepo.lab.compare.arms import Arm
from cepo.lab.compare.experiment import Experiment
from cepo.lab.jobs import LOCK
from cepo.models.embedded import resolve
from cepo.runs.folder import RunFolder, is_finished, write_atomically
from cepo.runs.identity import differences, digest
from cepo.runs.problems import training_spec
from cepo.runs.recipe import CREDIT_FIELDS, RunConfig, load_recipe, resolve_recipe, unexplained_differences
from cepo.trainer.checks import check_answers
from cepo.trainer.config import CEPOConfig

__all__ = ["RECORD", "Plan", "Run", "check_data", "check_recorded", "make_plan", "record"]

_OURS = {
    "seed": "seeds", "output_dir": "--out", "run_name": "the arm's name", "save_steps": "checkpoint_steps",
    "save_strategy": "checkpoint_steps", "save_total_limit": "checkpoint_steps", "eval_data": "evaluate",
    "eval_split": "evaluate", "eval_limit": "evaluate", "eval_samples": "evaluate",
    "eval_curve_every": "checkpoint_steps",
}  # fmt: skip
"""Recipe fields that a comparison sets -> where an experiment says so."""
_NO_PART = ("output_dir", "run_name", "logging_dir", "disable_tqdm", "log_level", "log_level_replica", "local_rank")
"""Where a run lies and what it shows: equal runs may differ in them."""
RECORD = "plan.json"
"""The file in a run's folder that says what was asked for."""


class Record(TypedDict):
    """What `RECORD` holds: a run's recipe, every field that followed from it, and the hash of those."""

    hash: str
    recipe: Mapping[str, object]
    resolved: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: an arm, a seed and, under `tune`, a value of its field.

    `recipe` is what `cepo train` is given, `resolved` every field that follows from it.
    """

    arm: str
    seed: int
    value: str | None
    folder: Path
    recipe: Mapping[str, object]
    resolved: Mapping[str, object]
    run_config: RunConfig
    config: CEPOConfig

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def steps(self) -> int:
        return self.config.max_steps

    @property
    def finished(self) -> bool:
        """`cepo train` writes the summary last; that of a run which was stopped says so."""
        return is_finished(RunFolder(self.folder).read_summary())

    @property
    def hash(self) -> str:
        """Of the resolved fields: equal hashes are the same run."""
        return hashlib.sha256(json.dumps(self.resolved, sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, then: Record) -> list[str]:
        """One phrase for each field in which a recorded run is another one than this; see `cepo.runs.identity`.

        A field that this version of the code has added counts only where a recipe names it.
        """
        return differences(then["resolved"], self.resolved, {*then["recipe"], *self.recipe})


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment with its recipes read and found comparable.

    `reasons`: one line for every field outside of the credit in which an arm differs, with the stated reason.
    `weights`: digest of the base model's weights where they are local, so that other weights are another run.
    """

    experiment: Experiment
    out: Path
    recipes: Mapping[str, Mapping[str, object]]
    reasons: tuple[str, ...]
    weights: str | None
    _runs: dict[tuple[str, int, str | None], Run] = field(default_factory=dict, init=False, repr=False, compare=False)

    def run(self, arm: str, seed: int, value: str | None = None) -> Run:
        """The run of an arm at a seed; `value` of the tuned field belongs to its name."""
        key = (arm, seed, value)
        if key not in self._runs:
            self._runs[key] = self._make_run(*key)
        return self._runs[key]

    def _make_run(self, arm: str, seed: int, value: str | None) -> Run:
        recipe = dict(self.recipes[arm])
        tune = self.experiment.tune
        name = f"{arm}-seed{seed}"
        if tune is not None and value is not None:
            recipe[tune.field] = value
            name = f"{arm}-{tune.field}={value}-seed{seed}"
        folder = self.out / "runs" / name
        recipe |= {"seed": str(seed), "output_dir": str(folder.absolute()), "run_name": name}
        run_config, config = resolve_recipe(recipe)
        resolved = _resolved(run_config, config) | {"model_weights": self.weights}
        return Run(arm, seed, value, folder, recipe, resolved, run_config, config)


def make_plan(experiment: Experiment, out: Path) -> Plan:
    """Read the recipes of all arms and check that they differ in the credit alone, or say why.

    Raises:
        SettingError: fields that differ without a reason or with a needless one, a field that the comparison
            sets itself, no number of steps, evaluation or tuning on the training data.
        RecipeError, ValueError: an unknown field or method, or a value that `cepo train` would refuse.
    """
    base = {name: value for name, value in load_recipe(experiment.recipe).items() if name not in _OURS}
    _refuse_ours(experiment.overrides, "overrides")
    recipes: dict[str, Mapping[str, object]] = {}
    for arm in experiment.arms:
        _refuse_ours(arm.fields, f"arm {arm.name!r}")
        saving = {"save_strategy": "steps", "save_steps": str(experiment.checkpoint_steps)}
        recipes[arm.name] = base | dict(experiment.overrides) | dict(arm.fields) | saving
    configs = {arm.name: _resolve_arm(arm, recipes[arm.name]) for arm in experiment.arms}
    _check_tuning(experiment, recipes)
    for run, config in configs.values():
        _check_splits(experiment, run, config)
    _check_equal(experiment, {name: _resolved(*pair) for name, pair in configs.items()})
    first, _ = configs[experiment.baseline]
    reasons = [f"{arm.name}: {name} = {arm.fields.get(name)} ({why})" for arm in experiment.arms
               for name, why in arm.differs.items()]  # fmt: skip
    return Plan(experiment, out, recipes, tuple(reasons), _weights_digest(first.model))


def check_data(plan: Plan, arms: Sequence[str]) -> None:
    """Load the training data of these arms once, and check that each method finds in it what it needs.

    Raises:
        DataError, RewardError, ValueError: data that are not there or cannot be graded, an unknown reward.
    """
    loaded: dict[str, Dataset] = {}
    for arm in arms:
        run = plan.run(arm, plan.experiment.seeds[0])
        settings = run.run_config
        for name in settings.rewards:
            get_reward(name)
        spec = training_spec(settings, run.config)
        if repr(spec) not in loaded:
            loaded[repr(spec)] = load_data(spec)
        if get_method(run.config.method).references:
            data, config = loaded[repr(spec)], run.config
            try:
                check_answers(data, config.answer_column, config.wrong_reward, settings.rewards, config.grading)
            except ValueError as error:
                raise SettingError(f"arm {arm!r} (method {config.method}): {error}") from error


def check_recorded(run: Run) -> None:
    """Refuse a run folder that was made with another config, with the fields that changed.

    Raises:
        RunFolderError: the folder's record does not agree with the plan, or it holds files and no record.
    """
    path = run.folder / RECORD
    advice = "Choose another --out, or remove the folder to run it anew."
    if not path.is_file():
        if run.folder.is_dir() and any(entry.name != LOCK for entry in run.folder.iterdir()):
            raise RunFolderError(f"{run.folder} holds files of something else (no {RECORD}). {advice}")
        return
    then: Record = json.loads(path.read_text())
    if found := run.differences(then):
        made = f"{run.folder} was made with another config ({then['hash']}, now {run.hash})"
        raise RunFolderError(f"{made}: {'; '.join(found)}. {advice}")


def record(run: Run) -> Path:
    """Write the run's recipe and record into its folder; returns the recipe's path for `cepo train --config`."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / RECORD).is_file():
        content = Record(hash=run.hash, recipe=dict(run.recipe), resolved=dict(run.resolved))
        write_atomically(run.folder / RECORD, json.dumps(content, indent=1, sort_keys=True) + "\n")
    recipe = run.folder / "recipe.yaml"
    write_atomically(recipe, yaml.safe_dump(dict(run.recipe), sort_keys=True))
    return recipe


def _resolve_arm(arm: Arm, recipe: Mapping[str, object]) -> tuple[RunConfig, CEPOConfig]:
    try:
        run, config = resolve_recipe({**recipe, "output_dir": "runs"})
    except ValueError as error:
        raise SettingError(f"arm {arm.name!r}: {error}") from error
    if run.tools:
        raise SettingError(
            f"arm {arm.name!r}: tools={run.tools}: a comparison asks for one turn, where no call is answered"
        )
    if config.max_steps < 1:
        raise SettingError(f"arm {arm.name!r}: set max_steps, so that all arms have the same number of steps")
    return run, config


def _resolved(run: RunConfig, config: CEPOConfig) -> dict[str, object]:
    """Every field as plain values; a credit field left to the preset has the preset's value, code its digest."""
    values = asdict(run) | config.to_dict() | asdict(config.credit)
    values["method_files"] = [f"{Path(path).name} {digest(Path(path))}" for path in run.method_files]
    kept = {name: value for name, value in values.items() if name not in _NO_PART}
    return json.loads(json.dumps(kept, default=str))


def _refuse_ours(fields: Mapping[str, object], where: str) -> None:
    for name in fields:
        if name in _OURS:
            raise SettingError(f"{where}: {name} is set by the comparison; see {_OURS[name]}")


def _check_tuning(experiment: Experiment, recipes: Mapping[str, Mapping[str, object]]) -> None:
    tune = experiment.tune
    if tune is None:
        return
    for arm in experiment.arms:
        if tune.field in arm.fields:
            raise SettingError(
                f"arm {arm.name!r} sets {tune.field}, which is tuned: leave it out, or give the arm values of its own, "
                f"`tune: {{{tune.field}: [{arm.fields[tune.field]}]}}`"
            )
        for value in experiment.grid(arm):
            _resolve_arm(arm, {**recipes[arm.name], tune.field: value})


def _check_splits(experiment: Experiment, run: RunConfig, config: CEPOConfig) -> None:
    evaluate, tune = experiment.evaluate, experiment.tune
    if evaluate.data == run.data and evaluate.split == run.data_split:
        raise SettingError(f"evaluate: {run.data}/{run.data_split} is what the arms are trained on")
    if tune is not None and tune.on in (evaluate.split, run.data_split):
        use = "the table" if tune.on == evaluate.split else "training"
        raise SettingError(f"tune.on: {tune.on!r} is used for {use}; tune on a split of its own")


def _check_equal(experiment: Experiment, resolved: Mapping[str, Mapping[str, object]]) -> None:
    for arm in experiment.arms:
        for name in arm.differs:
            if name in CREDIT_FIELDS or name not in resolved[arm.name]:
                kind = "a credit field, which needs no reason" if name in CREDIT_FIELDS else "no field of a recipe"
                raise SettingError(f"arm {arm.name!r}: differs.{name}: that is {kind}")
    found = unexplained_differences(
        {arm.name: {**resolved[arm.name], "differs": dict(arm.differs)} for arm in experiment.arms}
    )
    if found:
        raise SettingError(
            f"the arms cannot be compared: {'; '.join(found)}. Make it equal, or say why with `differs: "
            "{field: reason}` in the arm that stands apart."
        )


def _weights_digest(model: str) -> str | None:
    folder = Path(resolve(model))
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16] if files else None
