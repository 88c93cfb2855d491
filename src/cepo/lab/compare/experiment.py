"""What an experiment's YAML says, checked field by field. Nothing is resolved or run here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from cepo.runs.recipe import load_recipe

__all__ = ["Arm", "Evaluation", "Experiment", "ExperimentError", "Selection", "Sweep", "load_experiment"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
_BASE = "base"

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


class ExperimentError(ValueError):
    """An experiment that cannot be run as it is written; the message says where and what to write."""


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ExperimentError(f"{where}: expected one word or number, got {value!r}")
    return value


def _whole(value: Any, where: str, least: int = 1) -> int:
    if not (isinstance(value, str) and value.isdecimal() and int(value) >= least):
        raise ExperimentError(f"{where}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def _from_zero(value: Any, where: str) -> int:
    return _whole(value, where, least=0)


def _temperature(value: Any, where: str) -> float:
    try:
        number = float(_text(value, where))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ExperimentError(f"{where}: expected a number of at least 0 (0 is greedy), got {value!r}")
    return number


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ExperimentError(f"{where}: expected `field: value` lines, got {value!r}")
    return dict(value)


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ExperimentError(f"{where}: expected a list with at least one entry, got {value!r}")
    return list(value)


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    return _distinct([_from_zero(seed, where) for seed in _listed(value, where)], where)


def _values(value: Any, where: str) -> tuple[str, ...]:
    return _distinct([_text(entry, where) for entry in _listed(value, where)], where)


def _distinct(values: list[T], where: str) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ExperimentError(f"{where}: {value!r} is given twice")
    return tuple(values)


def _read(reader: Reader, **options: Any) -> Any:
    """A dataclass field with the function that reads its value from YAML text."""
    return field(metadata={"read": reader}, **options)


def _build(kind: type[T], given: Any, where: str) -> T:
    """An instance of `kind` from YAML: every name known, every needed one there, every value read."""
    content = _mapping(given, where)
    known = {entry.name: entry for entry in fields(kind) if "read" in entry.metadata}  # pyright: ignore[reportArgumentType]
    for name in content:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)
            raise ExperimentError(f"{where}: unknown field {name!r}; did you mean {near[0]!r}?")
    for name, entry in known.items():
        if name not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise ExperimentError(f"{where}: {name} is missing")
    return kind(**{name: known[name].metadata["read"](value, f"{where}.{name}") for name, value in content.items()})


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of the table: recipe fields, and why those outside of the credit differ (field -> reason)."""

    name: str
    fields: Mapping[str, Any]
    differs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out problems and how they are sampled: the same ones, with the same seed, for every checkpoint.

    `checkpoint_limit`: problems at the checkpoints before the last, the first ones of the data; None: all.
    """

    data: str = _read(_text, default="geometry")
    split: str = _read(_text, default="held_out")
    limit: int = _read(_whole, default=500)
    samples: int = _read(_whole, default=1)
    temperature: float = _read(_temperature, default=1.0)
    seed: int = _read(_from_zero, default=0)
    checkpoint_limit: int | None = _read(_whole, default=None)

    def __post_init__(self) -> None:
        if self.checkpoint_limit is not None and self.checkpoint_limit > self.limit:
            raise ExperimentError(
                f"evaluate.checkpoint_limit={self.checkpoint_limit} is more than limit={self.limit}: checkpoints are "
                "evaluated on the first of the same problems"
            )
        if self.temperature == 0 and self.samples > 1:
            raise ExperimentError(f"evaluate: temperature 0 is greedy, samples={self.samples} would be equal: use 1")


@dataclass(frozen=True, slots=True)
class Selection:
    """One small grid for every arm: each takes the value with the best mean accuracy on split `on`."""

    field: str = _read(_text)
    values: tuple[str, ...] = _read(_values)
    seeds: tuple[int, ...] = _read(_seeds)
    on: str = _read(_text, default="validation")
    limit: int = _read(_whole, default=500)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A recipe with one field at each of several values: an arm `field=value` for each."""

    field: str = _read(_text)
    values: tuple[str, ...] = _read(_values)
    arm: Mapping[str, Any] = _read(_mapping)

    def name(self, value: str) -> str:
        return f"{self.field}={value}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """A comparison as it is written; see docs/comparison.md for every field.

    Attributes:
        recipe: the recipe that every arm stands on.
        overrides: fields laid over the recipe, for all arms.
        arms: the rows of the table, those that `sweep` makes last.
        baseline: the arm that the others are compared with.
        seeds: of the training runs, equal for all arms.
        checkpoint_steps: a checkpoint is kept, and evaluated, every so many steps.
        jobs: processes side by side, each with one thread.
    """

    recipe: Path
    arms: tuple[Arm, ...]
    baseline: str
    seeds: tuple[int, ...]
    checkpoint_steps: int
    overrides: Mapping[str, Any]
    evaluate: Evaluation
    select: Selection | None
    sweep: tuple[Sweep, ...]
    jobs: int

    def arm(self, name: str) -> Arm:
        """Raises:
        ExperimentError: no arm of that name.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ExperimentError(f"there is no arm {name!r}; there are {', '.join(arm.name for arm in self.arms)}")


@dataclass(frozen=True, slots=True)
class _Written:
    """The YAML's own fields."""

    recipe: str = _read(_text)
    seeds: tuple[int, ...] = _read(_seeds)
    checkpoint_steps: int = _read(_whole)
    baseline: str = _read(_text, default="grpo")
    arms: Sequence[Any] = _read(_listed, default=())
    sweep: Sequence[Any] = _read(_listed, default=())
    overrides: Mapping[str, Any] = _read(_mapping, default_factory=dict)
    evaluate: Mapping[str, Any] = _read(_mapping, default_factory=dict)
    select: Mapping[str, Any] | None = _read(_mapping, default=None)
    jobs: int = _read(_whole, default=2)


def load_experiment(path: Path) -> Experiment:
    """Read an experiment; like a recipe it may `extends` another one. `recipe` is relative to the file that
    states it.

    Raises:
        ExperimentError, RecipeError: the first field that is unknown, missing or of the wrong kind, a seed or a
            name given twice, or a baseline that is no arm.
    """
    if not path.is_file():
        raise ExperimentError(f"there is no experiment {path}; experiments lie in experiments/")
    written = _build(_Written, load_recipe(path, files=("recipe",)), path.name)
    sweeps = tuple(_build(Sweep, given, f"sweep[{index}]") for index, given in enumerate(written.sweep))
    arms = [_arm(given, f"arms[{index}]") for index, given in enumerate(written.arms)]
    arms += [
        _arm({"name": sweep.name(value), **sweep.arm, sweep.field: value}, sweep.name(value))
        for sweep in sweeps
        for value in sweep.values
    ]
    _distinct([arm.name for arm in arms], "arms")
    experiment = Experiment(
        recipe=Path(written.recipe),
        arms=tuple(arms),
        baseline=written.baseline,
        seeds=written.seeds,
        checkpoint_steps=written.checkpoint_steps,
        overrides=written.overrides,
        evaluate=_build(Evaluation, written.evaluate, "evaluate"),
        select=None if written.select is None else _build(Selection, written.select, "select"),
        sweep=sweeps,
        jobs=written.jobs,
    )
    if written.baseline not in {arm.name for arm in arms}:
        known = ", ".join(arm.name for arm in arms) or "none"
        raise ExperimentError(f"baseline: {written.baseline!r} is no arm; there are: {known}")
    return experiment


def _arm(given: Any, where: str) -> Arm:
    content = _mapping(given, where)
    name = _text(content.pop("name", None), f"{where}.name")
    if not _NAME.fullmatch(name) or name == _BASE:
        raise ExperimentError(
            f"{where}.name: {name!r} names a folder: letters, digits and . _ = + -, and not {_BASE!r}, which is the "
            "untrained model"
        )
    differs = _mapping(content.pop("differs", {}), f"{where}.differs (field: reason)")
    reasons = {key: _text(reason, f"{where}.differs.{key}") for key, reason in differs.items()}
    return Arm(name, content, reasons)
