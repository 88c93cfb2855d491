"""The problems that a recipe trains on and is evaluated on."""

from __future__ import annotations

import json

from datasets import Dataset

from cepo.data.datasets import DataSpec, load_data
from cepo.errors import SettingError
from cepo.runs.recipe import RunConfig

__all__ = ["data_spec", "held_out_spec", "load_held_out", "load_training"]


def load_training(run: RunConfig, seed: int) -> Dataset:
    """Raises DataError, SettingError: what is wrong with the data, or with `data_columns`."""
    return load_data(data_spec(run.data, run.data_split, run.data_limit, run, seed))


def load_held_out(run: RunConfig) -> Dataset | None:
    """The same problems for every seed; None: nothing is evaluated. Raises as `load_training` does."""
    return None if run.eval_data is None else load_data(held_out_spec(run))


def held_out_spec(run: RunConfig) -> DataSpec:
    """What a run is evaluated on; it has `eval_data`."""
    return data_spec(str(run.eval_data), run.eval_split, run.eval_limit, run, seed=0, held_out=True)


def data_spec(
    path: str, split: str, limit: int | None, run: RunConfig, seed: int, *, held_out: bool = False
) -> DataSpec:
    """What to load; `held_out` takes the recipe's subset and columns of the evaluation's data."""
    subset, name, given = run.data_subset, "data_columns", run.data_columns
    if held_out:
        subset = run.eval_subset
        if run.eval_columns is not None:
            name, given = "eval_columns", run.eval_columns
    try:
        columns = json.loads(given) if given else {}
    except json.JSONDecodeError as error:
        raise SettingError(f'{name} must be JSON such as {{"prompt": "question"}}, got {given!r} ({error})') from None
    return DataSpec(
        path, split=split, subset=subset, limit=limit, seed=seed, columns=columns, drop_invalid=run.drop_invalid
    )
