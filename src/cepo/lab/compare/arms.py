"""The parts of an experiment's YAML that make arms: arms themselves, sweeps, and the grid that tunes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

__all__ = ["Arm", "Fields", "Part", "Seeds", "Sweep", "Text", "Tune", "distinct"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
_BASE = "base"

T = TypeVar("T")


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
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


def _gathered(kind: type[BaseModel], given: object, into: str, without: Sequence[str] = ()) -> object:
    """What a YAML gives, with every entry that is no field of `kind` (or one of `without`) under `into`."""
    if not isinstance(given, Mapping):
        return given
    own = {key: value for key, value in given.items() if key in {*kind.model_fields} - {into, *without}}
    return own | {into: {key: value for key, value in given.items() if key not in own}}


Text = Annotated[str, Field(min_length=1)]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(distinct)]
Values = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(distinct)]
Fields = Mapping[str, object]
"""Fields of a recipe, laid over it."""
Name = Annotated[str, AfterValidator(_of_a_folder)]


class Part(BaseModel):
    """A part of an experiment: frozen, without unknown fields, every scalar of the YAML a text."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Arm(Part):
    """A row of the table: a recipe with some `fields`.

    Attributes:
        differs: why fields outside of the credit differ, by field.
        role: what the arm is there for. An oracle is told by a solver where credit belongs: it says whether the
            comparison could show anything. A control has a method's numbers without its evidence.
        of: the method or oracle that a control is of.
        controls: an arm `NAME+CONTROL` is made for each, with `credit_control` set.
        tune: the arm's own values of the field that the experiment tunes.
    """

    name: Name
    differs: Mapping[str, Text] = {}
    role: Literal["method", "oracle", "control"] = "method"
    of: Text | None = None
    controls: Annotated[tuple[Literal["permuted", "mass", "random"], ...], AfterValidator(distinct)] = ()
    tune: Mapping[Text, Values] = {}
    fields: Fields = {}

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: object) -> object:
        """Everything that is not the arm's own is a field of the recipe."""
        return _gathered(cls, given, "fields")

    @model_validator(mode="after")
    def _agrees(self) -> Arm:
        if self.role == "control" and self.controls:
            raise ValueError("a control has no controls")
        if self.role != "control" and self.of is not None:
            raise ValueError(f"of: {self.of!r} is what a control is of; say `role: control`, or leave it out")
        return self

    def with_controls(self) -> list[Arm]:
        """The arm, and an arm for each of its controls."""
        shared = {"role": "control", "of": self.name, "differs": self.differs}
        return [
            self,
            *(
                Arm.model_validate({"name": f"{self.name}+{kind}", **shared, **self.fields, "credit_control": kind})
                for kind in self.controls
            ),
        ]


class Tune(Part):
    """`{FIELD: [values], ...}`: every arm takes the value of the field that is best on split `on`.

    Attributes:
        field, values: one grid for all arms; an arm may have its own values.
        seeds: of the candidates, none of which is reported.
        by: the area under the accuracy curve, or the final accuracy; the mean over the seeds.
        limit: problems of the split.
    """

    field: Text
    values: Values
    seeds: Seeds
    by: Literal["area", "final"] = "area"
    on: Text = "validation"
    limit: PositiveInt = 500

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: object) -> object:
        """The one entry that is not the grid's own is the field with its values."""
        gathered = _gathered(cls, given, "grid", ("field", "values"))
        if not isinstance(gathered, Mapping):
            return gathered
        grid = gathered["grid"]
        if not isinstance(grid, Mapping) or len(grid) != 1:
            names = ", ".join(map(str, grid)) if isinstance(grid, Mapping) and grid else "none"
            raise ValueError(f"it tunes one field, `FIELD: [values]`, got {names}")
        ((name, values),) = grid.items()
        return {key: value for key, value in gathered.items() if key != "grid"} | {"field": name, "values": values}


class Sweep(Part):
    """A recipe with one field at each of several values: an arm `field=value` for each."""

    field: Text
    values: Values
    arm: Fields

    def name(self, value: str) -> str:
        return f"{self.field}={value}"

    def arms(self) -> list[Arm]:
        given = ({"name": self.name(value), **self.arm, self.field: value} for value in self.values)
        return [Arm.model_validate(one) for one in given]
