"""The problems that a recipe trains on and is evaluated on."""

from __future__ import annotations

import json

from datasets import Dataset

from cepo.answers import Grading
from cepo.data.datasets import DataSpec, load_data
from cepo.errors import SettingError
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig

__all__ = ["held_out_spec", "load_held_out", "load_training", "training_spec"]


def load_training(run: RunConfig, config: CEPOConfig) -> Dataset:
    """Raises DataError, SettingError: what is wrong with the data, or with `data_columns`."""
    return load_data(training_spec(run, config))


def load_held_out(run: RunConfig, config: CEPOConfig) -> Dataset | None:
    """The same problems for every seed; None: nothing is evaluated. Raises as `load_training` does."""
    return None if run.eval_data is None else load_data(held_out_spec(run, config.grading))


def held_out_spec(run: RunConfig, grading: Grading) -> DataSpec:
    """What a run is evaluated on; it has `eval_data`. The recipe's subset and columns of it, and no seed."""
    name = "data_columns" if run.eval_columns is None else "eval_columns"
    return DataSpec(
        str(run.eval_data),
        split=run.eval_split,
        subset=run.eval_subset,
        limit=run.eval_limit,
        columns=_columns(run, name),
        drop_invalid=run.drop_invalid,
        grading=grading,
    )


def training_spec(run: RunConfig, config: CEPOConfig) -> DataSpec:
    """What a run is trained on."""
    return DataSpec(
        run.data,
        split=run.data_split,
        subset=run.data_subset,
        limit=run.data_limit,
        seed=config.seed,
        columns=_columns(run, "data_columns"),
        drop_invalid=run.drop_invalid,
        grading=config.grading,
    )


def _columns(run: RunConfig, name: str) -> dict[str, str]:
    given = getattr(run, name)
    try:
        return json.loads(given) if given else {}
    except json.JSONDecodeError as error:
        raise SettingError(f'{name} must be JSON such as {{"prompt": "question"}}, got {given!r} ({error})') from None
