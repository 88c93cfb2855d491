"""A recipe to start from: what the data look like, and the settings that go with them, with the reason of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from cepo.chain import CHAIN
from cepo.data.datasets import SPELLINGS, DataSpec, load_data
from cepo.data.sources import GEOMETRY, is_procedural, open_source
from cepo.errors import DataError
from cepo.figures.problems import FIGURES
from cepo.runs.recipe import load_recipe

__all__ = ["Looked", "look", "recipe_text", "suggested_model"]

SAMPLE = 200
"""Rows that are read to see what the data look like."""

ALSO: dict[str, tuple[str, ...]] = {
    "prompt": ("query", "instruction", "input"),
    "answer": ("final_answer", "ground_truth", "gold", "target", "label"),
    "solution": ("rationale", "worked_solution", "reasoning", "explanation"),
}
"""Names that mean a column of ours beside those which are found by themselves."""

HELD_OUT = ("test", "validation", "held_out")
EMBEDDED = {"tiny": "tiny", "tiny-text": "tiny_text", "tiny-figures": "tiny_figures"}
"""Embedded models, and the shipped recipes whose sizes go with them."""
_SUGGESTED = {GEOMETRY: "tiny", CHAIN: "tiny-text", FIGURES: "tiny-figures"}
_OF_THE_HUB: dict[str, object] = {
    "max_steps": 50, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 32, "num_generations": 8,
    "max_completion_length": 2048, "temperature": 1.0, "learning_rate": 5e-6,
    "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 5,
}  # fmt: skip
"""Sizes for a hub's model of a few billion parameters with LoRA, on a GPU."""
_PROCEDURAL_ROWS = 2000
_VLLM_GIB = 40


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of the data.

    Attributes:
        spec: how they are read, `limit` aside.
        rows: how many there are; None: as many as are asked for.
        columns: their names in the data.
        has_images, has_solutions: whether the rows that were read have pictures, worked solutions.
        invalid: why some rows cannot be used; None: all that were read can.
        held_out: the split to evaluate on; None: there is none.
    """

    spec: DataSpec
    rows: int | None
    columns: tuple[str, ...]
    has_images: bool
    has_solutions: bool
    invalid: str | None
    held_out: str | None

    def in_words(self) -> str:
        """One line."""
        count = "as many problems as are asked for" if self.rows is None else f"{self.rows} rows"
        pictures = "with pictures" if self.has_images else "text only"
        solutions = "with worked solutions" if self.has_solutions else "no worked solutions"
        held_out = f"held out: the split {self.held_out}" if self.held_out else "nothing held out"
        return f"{count}, {pictures}, {solutions}, {held_out}"


def look(path: str, split: str = "train", columns: Mapping[str, str] | None = None) -> Looked:
    """Open the data and read a sample of its rows.

    Args:
        columns: our name -> theirs, where names do not tell.

    Raises:
        DataError: no such data, no column for the prompt or the answer, or no row that can be used.
    """
    made = is_procedural(path)
    spec = DataSpec(path, split=split, limit=SAMPLE if made else None)
    source = open_source(spec)
    spec = replace(spec, limit=SAMPLE, columns={} if made else {**_guessed(source.columns), **(columns or {})})
    invalid = None
    try:
        data = load_data(spec)
    except DataError as error:
        if "Repair them" not in str(error):
            raise
        invalid = str(error).splitlines()[1].strip()
        spec = replace(spec, drop_invalid=True)
        data = load_data(spec)
    return Looked(
        spec,
        None if made else len(source.rows),
        source.columns,
        "images" in data.column_names,
        "solution" in data.column_names and any(data["solution"][:]),
        invalid,
        _held_out(spec, made),
    )


def _guessed(columns: Sequence[str]) -> dict[str, str]:
    """Our column -> theirs, where the loader would not find one, or would find several."""
    found: dict[str, str] = {}
    for ours, more in ALSO.items():
        known = [name for name in SPELLINGS[ours] if name in columns]
        others = [name for name in more if name in columns]
        if len(known) > 1 or (not known and others):
            found[ours] = (known or others)[0]
    return found


def _held_out(spec: DataSpec, made: bool) -> str | None:
    if made:
        return "held_out"
    for name in HELD_OUT if _has_splits(spec.path) else ():
        try:
            open_source(replace(spec, split=name, limit=None))
        except DataError:
            continue
        return name if name != spec.split else None
    return None


def _has_splits(path: str) -> bool:
    """One file has none."""
    return not Path(path).expanduser().is_file()


def suggested_model(looked: Looked) -> str:
    """An embedded model where the data are made for one, else a small one of the hub."""
    if is_procedural(looked.spec.path):
        return _SUGGESTED[looked.spec.path.partition(":")[0]]
    return "Qwen/Qwen3-VL-2B-Instruct" if looked.has_images else "Qwen/Qwen3-4B-Instruct-2507"


def recipe_text(looked: Looked, model: str, gpu_gib: int | None, name: str, vllm: bool) -> str:
    """The recipe as YAML, each block with why.

    Args:
        gpu_gib: memory of one GPU; None: there is none.
        name: of the run folder, below runs/.
        vllm: whether vLLM is installed.
    """
    blocks = [
        ("Made by `cepo init`. All fields: docs/configuration.md. To try another value: cepo train --field value.", {}),
        ("What is trained.", {"model": model, **_weights(model, gpu_gib)}),
        (f"The data: {looked.in_words()}.", _data(looked)),
        _evaluation(looked),
        _method(looked),
        ("Rewards decide the sign of every token's credit; these are 1 where the grader accepts the answer.",
         {"rewards": ["accuracy_reward"]}),
        *_sizes(model, gpu_gib),
        *_generation(gpu_gib, vllm),
        ("Where it goes. It reports to every installed tracker (docs/trackers.md); `report_to: none` to none.",
         {"output_dir": f"runs/{name}", "save_strategy": "steps", "save_steps": 25, "logging_steps": 1,
"seed": 0}),
    ]  # fmt: skip
    return "\n".join(_block(comment, fields) for comment, fields in blocks)


def _block(comment: str, fields: Mapping[str, object]) -> str:
    lines = [f"# {line}" for line in comment.splitlines()]
    return "\n".join([*lines, *(f"{name}: {_scalar(value)}" for name, value in fields.items()), ""])


def _scalar(value: object) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return yaml.safe_dump(value, width=10_000).removesuffix("\n").removesuffix("\n...")


def _weights(model: str, gpu_gib: int | None) -> dict[str, object]:
    lora = {} if model in EMBEDDED else {"lora_rank": 16, "lora_alpha": 32}
    if gpu_gib is None:
        return {"dtype": "float32", "bf16": False, "gradient_checkpointing": False, **lora}
    dtype = "bfloat16" if lora else "float32"  # all weights in bfloat16 round most updates away
    return {"dtype": dtype, "bf16": True, "gradient_checkpointing": True, **lora}


def _data(looked: Looked) -> dict[str, object]:
    spec = looked.spec
    fields: dict[str, object] = {"data": spec.path, "data_split": spec.split}
    if looked.rows is None:
        fields["data_limit"] = _PROCEDURAL_ROWS
    if spec.columns:
        fields["data_columns"] = dict(spec.columns)
    return fields | ({"drop_invalid": True} if spec.drop_invalid else {})


def _evaluation(looked: Looked) -> tuple[str, dict[str, object]]:
    if looked.held_out is None:
        return ("Nothing is held out, so nothing says whether it learned more than these problems. Give other data:\n"
                "eval_data: path/to/test.jsonl\neval_split: train  # of one file", {})  # fmt: skip
    return (
        "Accuracy on held-out problems before, during and after training, with intervals.",
        {"eval_data": looked.spec.path, "eval_split": looked.held_out, "eval_limit": 200, "eval_curve_every": 10},
    )


def _method(looked: Looked) -> tuple[str, dict[str, object]]:
    if looked.has_solutions:
        return (
            "decisive: credit where a rollout was won or lost, told worked solutions (docs/rules.md).\n"
            "The baseline to compare with is `method: grpo`.",
            {"method": "decisive"},
        )
    return (
        "cepo: the right answer against a wrong one. There are no worked solutions, with which `decisive` gained\n"
        "more (docs/comparison.md). The baseline to compare with is `method: grpo`.",
        {"method": "cepo"},
    )


def _sizes(model: str, gpu_gib: int | None) -> list[tuple[str, dict[str, object]]]:
    if model in EMBEDDED:
        shipped = load_recipe(Path(EMBEDDED[model]) / "base.yaml")
        known = {name: yaml.safe_load(str(value)) for name, value in shipped.items()}
    else:
        known = _OF_THE_HUB | (
            {"gradient_accumulation_steps": 1, "max_completion_length": 512} if gpu_gib is None else {}
        )

    def fields(*names: str) -> dict[str, object]:
        return {name: known[name] for name in names if name in known}

    return [
        (
            "A step: rows x accumulation rollouts, in groups of num_generations of one problem. Out of memory: halve\n"
            "the rows and double the accumulation.",
            fields("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "num_generations"),
        ),
        (
            "Tokens of a completion. Raise it where completions/clipped_ratio is above 0.1.",
            fields("max_completion_length", "temperature"),
        ),
        (
            "The first setting to tune, for each method by itself.",
            fields("learning_rate", "lr_scheduler_type", "warmup_steps", "freeze_vision"),
        ),
        ("Clip-higher and no KL term, as in the paper.", {"epsilon": 0.2, "epsilon_high": 0.28, "beta": 0.0}),
    ]  # fmt: skip


def _generation(gpu_gib: int | None, vllm: bool) -> list[tuple[str, dict[str, object]]]:
    if gpu_gib is None:
        return []
    if vllm and gpu_gib >= _VLLM_GIB:
        return [("vLLM generates, on the same GPU.",
                 {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": 8192})]  # fmt: skip
    why = f"needs about {_VLLM_GIB} GiB beside a model of 2 to 4 billion" if vllm else "pip install 'cepo[vllm]'"
    return [(f"Generation by transformers is slow. vLLM: {why}, then use_vllm: true, vllm_mode: colocate.", {})]
