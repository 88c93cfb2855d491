"""Writes configuration.md from `CEPOConfig` and `CreditSettings`, so that it cannot go stale (a test compares).

python docs/make_configuration.py
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path

from trl import GRPOConfig

from cepo.credit.settings import PRESETS, CreditSettings
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig

HEAD = """# Configuration

<!-- Written by docs/make_configuration.py; do not edit. -->

`CEPOConfig` takes every field of TRL's `GRPOConfig` and those below. In a recipe they are YAML keys, on the command
line `--field value`.

## Method and credit

A credit field that is not given has the preset's value; `default` has those in the table.

"""


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def default(field: Field) -> str:
    credit = {entry.name: entry.default for entry in fields(CreditSettings)}
    own = field.default_factory() if field.default_factory is not MISSING else field.default
    return f"`{credit.get(field.name, own)}`"


def table(kind: type, names: list[str]) -> str:
    known = {field.name: field for field in fields(kind)}
    lines = ["| field | default | |", "|---|---|---|"]
    for name in names:
        words = known[name].metadata["help"].removesuffix(" Default: the preset's.")
        lines.append(f"| `{name}` | {default(known[name])} | {cell(words)} |")
    return "\n".join(lines)


def text() -> str:
    inherited = {field.name for field in fields(GRPOConfig)}
    own = [field.name for field in fields(CEPOConfig) if field.name not in inherited]
    credit = [name for name in own if name in {field.name for field in fields(CreditSettings)}]
    rest = [name for name in own if name not in credit and name not in ("method", "preset")]
    parts = [HEAD, table(CEPOConfig, ["method", "preset", *credit])]
    parts += ["\n\n## Columns, work and records\n\n", table(CEPOConfig, rest)]
    parts += ["\n\n## Of a recipe: model, data, LoRA, evaluation\n\n"]
    parts += [table(RunConfig, [field.name for field in fields(RunConfig)])]
    parts.append("\n\n## Presets\n\n| preset | method | what it sets |\n|---|---|---|\n")
    for preset, methods in PRESETS.items():
        for method, values in methods.items():
            shown = ", ".join(f"`{name}: {value}`" for name, value in values.items())
            parts.append(f"| `{preset}` | {method} | {shown} |\n")
    return "".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "configuration.md").write_text(text(), encoding="utf-8")
