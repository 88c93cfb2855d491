"""`cepo init`: three questions, or three flags, and a recipe with comments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cepo.cli.console import Commands, add_command, say
from cepo.errors import CepoError, SettingError

if TYPE_CHECKING:
    from cepo.runs.starter import Looked

__all__ = ["add"]

T = TypeVar("T")
_EXAMPLE = "cepo init --data chain --model tiny-text --gpu none"


def add(commands: Commands) -> None:
    parser = add_command(commands, "init", "a recipe of your own, from three questions or flags", _EXAMPLE)
    parser.add_argument("--data", default=None, help="`chain`, `geometry`, a local file or folder, or a hub id")
    parser.add_argument("--split", default="train", help="split to train on")
    parser.add_argument(
        "--columns", default=None, metavar="JSON", help='e.g. {"prompt": "query"}, if not guessed right'
    )
    parser.add_argument("--model", default=None, help="`tiny-text`, `tiny`, a hub id or a folder")
    parser.add_argument("--gpu", default=None, help="`none`, or the memory of one GPU in GiB, such as 80")
    parser.add_argument("--out", type=Path, default=Path("cepo.yaml"), help="recipe to write (default: cepo.yaml)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise SettingError(f"{options.out} is there already, and is not overwritten: choose another --out")
    missing = [name for name in ("data", "model", "gpu") if getattr(options, name) is None]
    if missing and not sys.stdin.isatty():
        flags = ", ".join(f"--{name}" for name in missing)
        raise SettingError(f"there is no terminal to ask in: give {flags}, for example: {_EXAMPLE}")
    from cepo.runs.starter import look, recipe_text, suggested_model

    columns = _columns(options.columns)
    looked: Looked = _answered(
        "Data: chain, geometry, a .jsonl/.csv/.parquet file, a folder, or a hub id", "chain", options.data,
        lambda path: look(path, options.split, columns),
    )  # fmt: skip
    _tell(looked)
    model = _answered("Model: a hub id or a folder", suggested_model(looked), options.model, lambda name: name)
    gpu = _answered("GPU: its memory in GiB, or none", _gpu_here(), options.gpu, _gpu_gib)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(recipe_text(looked, model, gpu, options.out.stem, find_spec("vllm") is not None))
    print(f"wrote {options.out}\n\nWhat cepo doctor says of it:")
    from cepo.cli.doctor import examine
    from cepo.runs.recipe import load_recipe

    failed = examine(load_recipe(options.out), {}, load=False)
    first = "mend what failed, then " if failed else ""
    print(f"\nNext: {first}cepo {'doctor' if failed else 'train'} --config {options.out}")
    return 0


def _answered(question: str, default: str, given: str | None, read: Callable[[str], T]) -> T:
    """What the flag says, else the answer; asked again until it can be used.

    Raises:
        CepoError: a flag that cannot be used.
        SettingError: the terminal was closed.
    """
    if given is not None:
        return read(given)
    while True:
        try:
            answer = input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            raise SettingError(f"the questions were not answered, nothing was written; or: {_EXAMPLE}") from None
        try:
            return read(answer)
        except CepoError as error:
            say(str(error))


def _columns(given: str | None) -> dict[str, str]:
    try:
        columns = json.loads(given or "{}")
    except json.JSONDecodeError as error:
        raise SettingError(f'--columns must be JSON such as {{"prompt": "query"}}, got {given!r} ({error})') from None
    if not isinstance(columns, dict):
        raise SettingError(f"--columns must be a JSON object of our name -> theirs, got {given!r}")
    return columns


def _tell(looked: Looked) -> None:
    """What was seen of the data."""
    print(f"{looked.spec.path}: {looked.in_words()}")
    for ours, theirs in looked.spec.columns.items():
        print(f"  {ours} is read from the column {theirs!r}")
    if looked.invalid:
        print(f"  rows that cannot be used are left out, such as {looked.invalid}")


def _gpu_here() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    return str(round(torch.cuda.get_device_properties(0).total_memory / 2**30))


def _gpu_gib(text: str) -> int | None:
    """Raises SettingError: neither `none` nor a number of GiB."""
    if text.lower() in ("none", "no", "cpu", "0"):
        return None
    if not text.isdecimal():
        raise SettingError(f"--gpu takes the memory of one GPU in GiB, such as 80, or none, got {text!r}")
    return int(text)
