"""What all warm starts share: the command that starts one, and the folder that it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from transformers import HfArgumentParser, PreTrainedModel

from cepo.models.loading import Processor

__all__ = ["LOG", "Log", "command", "save_with_log"]

LOG = "warm_start_log.json"
Log: TypeAlias = list[dict[str, object]]
"""Entries of the file `LOG`: the settings first."""

S = TypeVar("S")


def save_with_log(model: PreTrainedModel, processor: Processor, log: Log, out: Path) -> None:
    """Write weights (safetensors, fp32), processor or tokenizer, and log."""
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / LOG).write_text(json.dumps(log, indent=1) + "\n")


def command(
    settings: type[S], run: Callable[[S, Path], None], description: str, arguments: Sequence[str] | None = None
) -> None:
    """Read `settings` and `--out FOLDER` from the command line, and run."""
    parser = HfArgumentParser(settings, description=description)  # pyright: ignore[reportArgumentType]
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, processor and log")
    read, others = parser.parse_args_into_dataclasses(arguments)
    run(read, others.out)
