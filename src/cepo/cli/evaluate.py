"""`cepo eval`: how often a model is right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = commands.add_parser("eval", help="pass@1 and pass@k of a model, with intervals, per family")
    parser.add_argument("model", help="`tiny`, a folder or a hub id")
    parser.add_argument("--data", default="geometry", help="`geometry`, a local file or folder, or a hub id")
    parser.add_argument("--split", default="held_out")
    parser.add_argument("--limit", type=int, default=None, help="problems (default: 500 of geometry, else all)")
    parser.add_argument("--samples", type=int, default=1, help="completions per problem")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: greedy")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="save every generation as JSONL")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from cepo.evaluate import format_report, generate_answers, report, save_generations
    from cepo.tasks.datasets import DataSpec, load_data
    from cepo.training.run import load_model

    if options.out is not None:
        _check_out(options.out)
    limit = 500 if options.limit is None and options.data == "geometry" else options.limit
    data = load_data(DataSpec(options.data, split=options.split, limit=limit))
    model, processor = load_model(options.model, "auto", None, trust_remote_code=False)
    generations = generate_answers(
        model,
        processor,
        data,
        samples=options.samples,
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
        autocast_bf16=False,
    )
    if options.out is not None:
        save_generations(generations, options.out)
    print(format_report(report(generations, options.samples)))
    return 0


def _check_out(path: Path) -> None:
    """Raise OSError unless the generations can be saved: before they are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a"):
        pass
