"""Which run a folder holds: a small record of what decides the training, and its one comparison, field by field.

The record is flat: every decisive field as resolved, and three mappings from file to digest: the files of one's own
rules (`method_files`), local data (`data_files`) and a local base model (`model_files`). Images that data name by path,
and whatever lies on the hub, are known by their names alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path

from transformers import TrainingArguments

from cepo.data.digest import digest
from cepo.data.sources import is_procedural
from cepo.models.embedded import SHIPPED, resolve
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig

__all__ = ["Identity", "comparable", "decisive_fields", "differences", "digest", "identify", "resolved_paths"]

_FREE_PREFIXES = ("eval_", "log_", "vllm_", "trace_", "score_", "null_control_", "reward_timeout")
"""Fields of ours and of TRL's that leave what is trained as it is, or are the machine's."""

_SCHEDULE = {
    "seed", "optim", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "bf16",
    "per_device_train_batch_size", "gradient_accumulation_steps",
}  # fmt: skip
"""What of transformers' own fields decides what is trained. `max_steps` is free: a run may be made longer."""

_PATHS = ("model", "data", "eval_data", "method_files", "output_dir")
_CUT = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
_FILES = ("data_files", "method_files", "model_files")
_DATA_ENDINGS = (".arrow", ".csv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a run this run. `named`: the fields of `record` that have another value than their default."""

    record: Mapping[str, object]
    named: frozenset[str]


def identify(run: RunConfig, config: CEPOConfig) -> Identity:
    """Of a run that is to be started or continued. Reads its local files."""
    values = asdict(run) | config.to_dict()
    known = decisive_fields()
    named = {name for name, entry in known.items() if name in values and values[name] != _default(entry)}
    record = {name: value for name, value in (values | asdict(config.credit)).items() if name in known}
    record["method_files"] = {Path(path).name: digest(Path(path)) for path in run.method_files}
    data = Path(run.data).expanduser()
    record["data_files"] = {} if is_procedural(run.data) else _digests(data, data.rglob("*"), _DATA_ENDINGS)
    model = Path(resolve(run.model))
    record["model_files"] = _digests(model, model.glob("*"), (".safetensors", "config.json"))
    return Identity(json.loads(json.dumps(record, default=str)), frozenset(named))


def differences(before: Mapping[str, object], now: Mapping[str, object], named: Collection[str] = ()) -> list[str]:
    """One phrase for each field in which two records are not of the same run; none: they are.

    A field that one of them lacks (it was written by a version of cepo that has no such field) counts where it is
    `named`. Of a mapping every entry counts: a file that is new or gone is a difference.
    """
    one_sided = set(before) ^ set(now)
    counted = (set(before) & set(now)) | (one_sided & set(named))
    return [said for name in sorted(counted) for said in _unequal(name, before.get(name), now.get(name))]


def resolved_paths(values: Mapping[str, object]) -> dict[str, object]:
    """The fields that name something local, by its whole path; what is not there (a hub's name) is left out."""
    found: dict[str, object] = {}
    for name in _PATHS:
        given = values.get(name)
        several = given if isinstance(given, list) else [given]
        paths = [Path(str(one)).expanduser() for one in several if one is not None and not _is_ours(str(one))]
        if paths and all(path.exists() for path in paths):
            whole = [str(path.absolute()) for path in paths]
            found[name] = whole if isinstance(given, list) else whole[0]
    return found


def _is_ours(name: str) -> bool:
    """Whether a recipe's word names a model or problems that come with cepo, and no path."""
    return name in SHIPPED or is_procedural(name)


def comparable(record: Mapping[str, object]) -> dict[str, object]:
    """A record in which what is written otherwise and means the same is the same.

    Micro-batch and accumulation are one number: how a batch is cut changes nothing but rounding.
    `generation_batch_size`, the rows that are generated at once, stays. Paths are whole.
    """
    record = {**record, **resolved_paths({name: record.get(name) for name in ("model", "data")})}
    rows, times = (record.get(name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps"))
    if not isinstance(rows, int) or not isinstance(times, int):
        return dict(record)
    return {name: value for name, value in record.items() if name not in _CUT} | {"rows_per_update": rows * times}


def decisive_fields() -> dict[str, Field[object]]:
    """Fields that decide what is trained."""
    theirs = {entry.name for entry in fields(TrainingArguments)}
    every = {entry.name: entry for kind in (RunConfig, CEPOConfig) for entry in fields(kind) if entry.init}
    ours = {name for name in every if name not in theirs and not name.startswith(_FREE_PREFIXES)}
    return {name: entry for name, entry in every.items() if name in ours | _SCHEDULE}


def _unequal(name: str, before: object, now: object) -> Iterator[str]:
    if before == now:
        return
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        yield f"{name}={before!r} (now {now!r})"
        return
    for key in sorted(set(before) | set(now)):
        if name not in _FILES:
            yield from _unequal(f"{name}.{key}", before.get(key), now.get(key))
        elif before.get(key) != now.get(key):
            how = "is new" if key not in before else "is gone" if key not in now else "has changed"
            yield f"the file {key} ({name}) {how}"


def _digests(path: Path, within: Iterable[Path], endings: tuple[str, ...]) -> dict[str, str]:
    """Of a file, or of the files in a folder that end so; nothing where neither is there (a name of the hub's)."""
    if path.is_file():
        return {path.name: digest(path)}
    found = sorted(file for file in within if file.is_file() and file.name.endswith(endings))
    return {file.relative_to(path).as_posix(): digest(file) for file in found}


def _default(entry: Field[object]) -> object:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()
