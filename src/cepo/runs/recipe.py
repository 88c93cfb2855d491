"""Recipes: YAML files and `--field value` overrides, checked name by name, to configs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import yaml

from cepo.credit.settings import CreditSettings
from cepo.data.tools import get_tool
from cepo.errors import RuleError, SettingError, did_you_mean
from cepo.runs.method_files import run_method_files
from cepo.runs.values import build, field_names
from cepo.trainer.config import CEPOConfig

__all__ = [
    "CREDIT_FIELDS", "RecipeError", "RunConfig", "find_recipe", "load_recipe", "load_with_reasons", "parse_overrides",
    "resolve_recipe", "unexplained_differences",
]  # fmt: skip

_EXTENDS, _DIFFERS = "extends", "differs"

PACKAGED = Path(__file__).parents[1] / "recipes"

CREDIT_FIELDS = frozenset(entry.name for entry in fields(CreditSettings)) | {
    "method", "method_files", "preset", "output_dir", "run_name", "seed",
}  # fmt: skip
"""What runs that are compared may differ in: the credit, the seed, and where they lie."""


class RecipeError(SettingError):
    """A recipe or an override that cannot be used; the message says where it stands and what to write."""


@dataclass
class RunConfig:
    """What a run needs beside the trainer's own fields."""

    method_files: list[str] = field(
        default_factory=list,
        metadata={"help": "Python files that register methods, rewards or tools of your own; run first."},
    )
    model: str = field(default="tiny", metadata={"help": "`tiny`, `tiny-text`, `tiny-figures`, a folder or a hub id."})
    attn_implementation: str | None = field(default=None, metadata={"help": "eager, sdpa or flash_attention_2."})
    dtype: str = field(
        default="auto",
        metadata={
            "help": "Weights' dtype: float32, bfloat16, or auto: float32 where all weights are trained, else the "
            "model's own."
        },
    )
    data: str = field(
        default="geometry", metadata={"help": "`geometry`, `chain`, a local file or folder, or a hub id."}
    )
    data_split: str = field(default="train", metadata={"help": "Split to train on."})
    data_subset: str | None = field(default=None, metadata={"help": "Configuration of a hub data set with several."})
    data_limit: int | None = field(default=None, metadata={"help": "Rows to use; needed for `geometry` and `chain`."})
    data_columns: str | None = field(default=None, metadata={"help": "JSON: our column name -> the data's."})
    drop_invalid: bool = field(
        default=False,
        metadata={"help": "Drop rows that cannot be graded or do not fit the model's length, and say how many."},
    )
    eval_data: str | None = field(
        default=None, metadata={"help": "Data to evaluate on before and after; none: no evaluation."}
    )
    eval_split: str = field(default="held_out", metadata={"help": "Split to evaluate on."})
    eval_subset: str | None = field(default=None, metadata={"help": "As data_subset, of the evaluation's data."})
    eval_columns: str | None = field(
        default=None, metadata={"help": "As data_columns, of the evaluation's data; none: data_columns."}
    )
    eval_limit: int | None = field(default=None, metadata={"help": "Problems to evaluate on."})
    eval_samples: int = field(default=1, metadata={"help": "Completions per problem in the evaluation."})
    eval_curve_every: int = field(
        default=0, metadata={"help": "Steps between evaluations during training (curve.jsonl); 0: none."}
    )
    eval_curve_limit: int = field(default=200, metadata={"help": "Problems of each: the first of the evaluation's."})
    rewards: list[str] = field(default_factory=lambda: ["accuracy_reward"], metadata={"help": "Names in cepo.REWARDS."})
    tools: list[str] = field(
        default_factory=list, metadata={"help": "Tools that the model may call: names in cepo.TOOLS."}
    )
    lora_rank: int | None = field(default=None, metadata={"help": "LoRA rank; none: all weights are trained."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA alpha."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the layers that get adapters, such as q_proj; none: every linear layer."},
    )
    load_in_4bit: bool = field(
        default=False,
        metadata={"help": "Keep the weights in 4 bits beneath LoRA (QLoRA): needs lora_rank and bitsandbytes."},
    )
    freeze_vision: bool = field(
        default=False, metadata={"help": "Leave the vision tower untrained; with LoRA, without adapters."}
    )

    @property
    def weights_dtype(self) -> str:
        """What the model is loaded as. Where all weights are trained `auto` is float32: bfloat16 keeps 8 bits of a
        weight, and an update of a fine-tuning's size is mostly rounded away."""
        return "float32" if self.dtype == "auto" and self.lora_rank is None else self.dtype


def load_recipe(path: Path, files: Collection[str] = ()) -> dict[str, object]:
    """Read a recipe, with the one it `extends` beneath it; `differs` (field: reason) is kept out.

    Args:
        files: fields that name a file relative to the YAML that states them, which may be one beneath.

    Raises:
        RecipeError: no such file, not a mapping, or recipes that extend each other.
    """
    return {name: value for name, value in _load(path, (), files).items() if name != _DIFFERS}


def load_with_reasons(path: Path) -> dict[str, object]:
    """A recipe as `load_recipe` reads it, with its `differs` block."""
    return _load(path, (), ())


def unexplained_differences(recipes: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Where recipes that are to be compared differ outside of the credit fields without a stated reason.

    Args:
        recipes: name -> fields, with `differs: {field: reason}` where one must stand apart.

    Returns:
        One sentence for each field that is unequal and unexplained, or explained and equal.
    """
    found = []
    reasons = {name: _reasons(recipe) for name, recipe in recipes.items()}
    explained = {field for given in reasons.values() for field in given}
    every = {field for recipe in recipes.values() for field in recipe} - {_DIFFERS} - CREDIT_FIELDS
    for name in sorted(every | explained):
        values = {recipe: fields.get(name) for recipe, fields in recipes.items()}
        equal = len({json.dumps(value, sort_keys=True) for value in values.values()}) == 1
        if equal and name in explained:
            found.append(f"{name} is said to differ, but is {next(iter(values.values()))!r} everywhere")
        kept = {json.dumps(value, sort_keys=True) for recipe, value in values.items() if name not in reasons[recipe]}
        if not equal and len(kept) > 1:
            found.append(f"{name} differs without a reason: {values}")
    return found


def _reasons(recipe: Mapping[str, object]) -> Mapping[str, object]:
    given = recipe.get(_DIFFERS)
    return given if isinstance(given, Mapping) else {}


def find_recipe(path: Path) -> Path:
    """A recipe's file: as given, or one that comes with the package (`tiny/cepo.yaml`, `recipes/tiny/cepo.yaml`).

    Raises:
        RecipeError: neither is there.
    """
    if path.is_file():
        return path
    shipped = PACKAGED.joinpath(*(part for part in path.parts if part != "recipes"))
    if not path.is_absolute() and shipped.is_file():
        return shipped
    known = ", ".join(str(file.relative_to(PACKAGED)) for file in sorted(PACKAGED.glob("*/*.yaml")))
    raise RecipeError(f"there is no recipe {path}; with the package come {known}")


def _load(path: Path, above: tuple[Path, ...], files: Collection[str]) -> dict[str, object]:
    path = find_recipe(path)
    if path.resolve() in (other.resolve() for other in above):
        raise RecipeError(f"recipes extend each other: {' -> '.join(map(str, (*above, path)))}")
    try:
        content = _read_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold `field: value` lines, got {type(content).__name__}")
    if not isinstance(content.get(_DIFFERS, {}), dict):
        raise RecipeError(f"{path}: `differs` must hold `field: reason` lines, got {content[_DIFFERS]!r}")
    below = content.pop(_EXTENDS, None)
    if below is not None and not isinstance(below, str):
        raise RecipeError(f"{path}: `extends` names one recipe, got {below!r}")
    base = {} if below is None else _load(path.parent / below, (*above, path), files)
    content |= {name: str(path.parent / content[name]) for name in files if isinstance(content.get(name), str)}
    return base | content


def parse_overrides(arguments: Sequence[str]) -> dict[str, object]:
    """`--field value` and `--field=value` pairs; a value may be a YAML list.

    Raises:
        RecipeError: a word that is no option, or an option without a value.
    """
    overrides: dict[str, object] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise RecipeError(f"expected --field value, got {word!r}")
        name, given, value = word[2:].partition("=")
        if not given:
            if not rest or rest[0].startswith("--"):
                raise RecipeError(f"--{name} needs a value (for a switch: --{name} true)")
            value = rest.pop(0)
        overrides[name.replace("-", "_")] = _read_value(value)
    return overrides


def _read_value(text: str) -> object:
    """A list or a mapping where the text is one, else the text: `{reference}` and `a: b` are texts."""
    if text[:1] not in ("[", "{"):
        return text
    try:
        value = _read_yaml(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, dict) and "" in value.values() else value


def _read_yaml(text: str) -> object:
    """YAML with every scalar as text: a field's own type decides, so that `no` and 1e-6 are what they look like."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def resolve_recipe(values: Mapping[str, object]) -> tuple[RunConfig, CEPOConfig]:
    """Configs of a recipe.

    Raises:
        RecipeError: an unknown field (the nearest name is suggested), a value that its field cannot take, method
            files that cannot be used, or what `CEPOConfig` refuses.
    """
    known = field_names(RunConfig, CEPOConfig)
    for name in values:
        if name not in known:
            raise RecipeError(f"unknown field {name!r}{did_you_mean(name, known)}")
    # transformers refuses bf16 on a machine without an accelerator unless it is told that this is meant.
    here = {"use_cpu": not torch.accelerator.is_available()}
    try:
        run = build(RunConfig, values)
        if run.load_in_4bit and run.lora_rank is None:
            raise RecipeError("load_in_4bit: true keeps weights that cannot be trained: set lora_rank (16, say)")
        run_method_files(run.method_files)  # `method` may be one of theirs
        for name in run.tools:
            get_tool(name)
        return run, build(CEPOConfig, here | dict(values))
    except (SettingError, RuleError) as error:
        raise RecipeError(str(error)) from error
