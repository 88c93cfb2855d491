"""What an experiment's YAML says, checked field by field. Nothing is resolved or run here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from cepo.errors import SettingError, did_you_mean
from cepo.lab.compare.arms import Arm, Fields, Part, Seeds, Sweep, Text, Tune, distinct
from cepo.runs.recipe import load_recipe

__all__ = ["Evaluation", "Experiment", "load_experiment"]


class Evaluation(Part):
    """Held-out problems and how they are sampled: the same ones, with the same seed, for every checkpoint.

    `checkpoint_limit`: problems at the checkpoints before the last, the first ones of the data; None: all.
    """

    data: Text = "geometry"
    split: Text = "held_out"
    limit: PositiveInt = 500
    samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    seed: NonNegativeInt = 0
    checkpoint_limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Evaluation:
        if self.checkpoint_limit is not None and self.checkpoint_limit > self.limit:
            raise ValueError(
                f"checkpoint_limit={self.checkpoint_limit} is more than limit={self.limit}: checkpoints are evaluated "
                "on the first of the same problems"
            )
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"temperature 0 is greedy, samples={self.samples} would be equal: use 1")
        return self


class Experiment(Part):
    """A comparison as it is written; see docs/comparison.md for every field.

    Attributes:
        recipe: the recipe that every arm stands on.
        seeds: of the training runs, equal for all arms.
        checkpoint_steps: a checkpoint is kept, and evaluated, every so many steps.
        baseline: the arm that the others are compared with.
        overrides: fields laid over the recipe, for all arms.
        target: the accuracy to which steps are counted.
        tune: a field, each arm's value of which is chosen before anything is reported.
        jobs: processes side by side, each with one thread.
    """

    recipe: Path
    seeds: Seeds
    checkpoint_steps: PositiveInt
    baseline: Text = "grpo"
    written: tuple[Arm, ...] = Field(default=(), alias="arms")
    sweep: tuple[Sweep, ...] = ()
    overrides: Fields = Field(default_factory=dict)
    evaluate: Evaluation = Evaluation()
    target: Annotated[float, Field(gt=0, lt=1)] = 0.5
    tune: Tune | None = None
    jobs: PositiveInt = 2

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The rows of the table: each arm with its controls behind it, those that `sweep` makes last."""
        written = (one for arm in self.written for one in arm.with_controls())
        return (*written, *(arm for sweep in self.sweep for arm in sweep.arms()))

    @model_validator(mode="after")
    def _has_its_arms(self) -> Experiment:
        names = distinct(tuple(arm.name for arm in self.arms))
        if self.baseline not in names:
            raise ValueError(f"baseline: {self.baseline!r} is no arm; there are: {', '.join(names) or 'none'}")
        roles = {arm.name: arm.role for arm in self.arms}
        if roles[self.baseline] != "method":
            raise ValueError(f"baseline: {self.baseline!r} has the role {roles[self.baseline]}; it is the baseline")
        for arm in self.arms:
            if arm.of is not None and roles.get(arm.of, "control") == "control":
                raise ValueError(f"arm {arm.name!r}: of: {arm.of!r} is no method or oracle of this experiment")
        return self

    @model_validator(mode="after")
    def _tunes_apart(self) -> Experiment:
        for arm in self.arms:
            for name in arm.tune:
                if self.tune is None or [*arm.tune] != [self.tune.field]:
                    tuned = "nothing" if self.tune is None else self.tune.field
                    raise ValueError(f"arm {arm.name!r}: tune: {name!r} is not what the experiment tunes: {tuned}")
        if self.tune is not None and (both := sorted({*self.seeds} & {*self.tune.seeds})):
            raise ValueError(
                f"tune: seeds {', '.join(map(str, both))} are reported; what is chosen on them would favour the arms "
                "that were lucky there: tune on others"
            )
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Arm -> method, oracle, control or baseline."""
        return {arm.name: arm.role for arm in self.arms} | {self.baseline: "baseline"}

    def controls_of(self) -> dict[str, tuple[str, ...]]:
        """Method or oracle -> the controls that are of it, where it has any."""
        found: dict[str, tuple[str, ...]] = {}
        for arm in self.arms:
            if arm.of is not None:
                found[arm.of] = (*found.get(arm.of, ()), arm.name)
        return found

    def tuned_as(self, arm: Arm) -> Arm:
        """The arm whose candidates choose for `arm`: a control without values of its own takes its method's value."""
        return self.arm(arm.of) if arm.of is not None and not arm.tune else arm

    def grid(self, arm: Arm) -> tuple[str, ...]:
        """The values of the tuned field that are tried for an arm."""
        if self.tune is None:
            return ()
        return self.tuned_as(arm).tune.get(self.tune.field, self.tune.values)

    def arm(self, name: str) -> Arm:
        """Raises SettingError where there is no arm of that name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise SettingError(f"there is no arm {name!r}; there are {', '.join(arm.name for arm in self.arms)}")


def load_experiment(path: Path) -> Experiment:
    """Read an experiment; like a recipe it may `extends` another one. `recipe` is relative to the file that
    states it.

    Raises:
        SettingError, RecipeError: the first field that is unknown, missing or of the wrong kind, a seed or a name given
            twice, or a baseline that is no arm.
    """
    if not path.is_file():
        raise SettingError(f"there is no experiment {path}; experiments lie in experiments/")
    try:
        return Experiment.model_validate(load_recipe(path, files=("recipe",)))
    except ValidationError as error:
        raise SettingError(f"{path.name}: {_sentence(error)}") from None


_PARTS: Mapping[str, type[Part]] = {"evaluate": Evaluation, "tune": Tune, "sweep": Sweep}


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, and where it stands."""
    first = error.errors()[0]
    place, kind, said = first["loc"], first["type"], first["msg"]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    if kind == "extra_forbidden":
        part = _PARTS.get(str(place[0]), Experiment) if len(place) > 1 else Experiment
        known = [entry.alias or name for name, entry in part.model_fields.items()]
        return f"{where}: unknown field{did_you_mean(str([*place][-1]), known)}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        reason = first.get("ctx", {}).get("error")
        said = _sentence(reason) if isinstance(reason, ValidationError) else str(reason)
        return f"{where}: {said}" if where else said
    return f"{where}: {said[0].lower()}{said[1:]}, got {first['input']!r}"
