"""What an experiment's YAML says, checked field by field. Nothing is resolved or run here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from cepo.errors import SettingError, did_you_mean
from cepo.runs.recipe import load_recipe

__all__ = ["Arm", "Evaluation", "Experiment", "Selection", "Sweep", "load_experiment"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
_BASE = "base"

T = TypeVar("T")


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{str(value)!r} is given twice")
    return values


def _of_a_folder(name: str) -> str:
    if not _NAME.fullmatch(name) or name == _BASE:
        raise ValueError(
            f"{name!r} names a folder: letters, digits and . _ = + -, and not {_BASE!r}, which is the untrained model"
        )
    return name


Text = Annotated[str, Field(min_length=1)]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_distinct)]
Values = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_distinct)]
Fields = Mapping[str, object]
"""Fields of a recipe, laid over it."""
Name = Annotated[str, AfterValidator(_of_a_folder)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Arm(_Part):
    """A row of the table: a recipe with some `fields`; `differs` says why those outside of the credit differ."""

    name: Name
    differs: Mapping[str, Text] = {}
    fields: Fields = {}

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: object) -> object:
        """Everything beside the name and the reasons is a field of the recipe."""
        if not isinstance(given, Mapping):
            return given
        own = {key: value for key, value in given.items() if key in ("name", "differs")}
        return own | {"fields": {key: value for key, value in given.items() if key not in own}}


class Evaluation(_Part):
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


class Selection(_Part):
    """One small grid for every arm: each takes the value with the best mean accuracy on split `on`."""

    field: Text
    values: Values
    seeds: Seeds
    on: Text = "validation"
    limit: PositiveInt = 500


class Sweep(_Part):
    """A recipe with one field at each of several values: an arm `field=value` for each."""

    field: Text
    values: Values
    arm: Fields

    def name(self, value: str) -> str:
        return f"{self.field}={value}"

    def arms(self) -> list[Arm]:
        given = ({"name": self.name(value), **self.arm, self.field: value} for value in self.values)
        return [Arm.model_validate(one) for one in given]


class Experiment(_Part):
    """A comparison as it is written; see docs/comparison.md for every field.

    Attributes:
        recipe: the recipe that every arm stands on.
        seeds: of the training runs, equal for all arms.
        checkpoint_steps: a checkpoint is kept, and evaluated, every so many steps.
        baseline: the arm that the others are compared with.
        overrides: fields laid over the recipe, for all arms.
        jobs: processes side by side, each with one thread.
    """

    recipe: Path
    seeds: Seeds
    checkpoint_steps: PositiveInt
    baseline: Text = "grpo"
    written: tuple[Arm, ...] = Field(default=(), alias="arms")
    sweep: tuple[Sweep, ...] = ()
    overrides: Fields = {}
    evaluate: Evaluation = Evaluation()
    select: Selection | None = None
    jobs: PositiveInt = 2

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The rows of the table, those that `sweep` makes last."""
        return (*self.written, *(arm for sweep in self.sweep for arm in sweep.arms()))

    @model_validator(mode="after")
    def _has_its_baseline(self) -> Experiment:
        names = _distinct(tuple(arm.name for arm in self.arms))
        if self.baseline not in names:
            raise ValueError(f"baseline: {self.baseline!r} is no arm; there are: {', '.join(names) or 'none'}")
        return self

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


_PARTS: Mapping[str, type[_Part]] = {"evaluate": Evaluation, "select": Selection, "sweep": Sweep}


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
