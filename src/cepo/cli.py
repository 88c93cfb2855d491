"""The command line: parse, call, print. `cepo --help` lists the commands."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

EXPECTED = (ValueError, OSError, RuntimeError, TypeError)
"""Errors with a message for the user: printed as one line. `CEPO_TRACEBACK=1` shows where they came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "train":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of our hosts' own deprecations
    try:
        return options.run(options, rest)
    except KeyboardInterrupt:
        print("cepo: interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if os.environ.get("CEPO_TRACEBACK"):
            traceback.print_exc()
        print(f"cepo: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cepo", description="Token-level credit for RLVR.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train from a recipe; --field value overrides any of its fields")
    train.add_argument("--config", type=Path, required=True, help="recipe (YAML)")
    train.set_defaults(run=_train)
    evaluate = commands.add_parser("eval", help="pass@1 and pass@k of a model, with intervals, per family")
    evaluate.add_argument("model", help="`tiny`, a folder or a hub id")
    evaluate.add_argument("--data", default="geometry", help="`geometry`, a local file or folder, or a hub id")
    evaluate.add_argument("--split", default="held_out")
    evaluate.add_argument("--limit", type=int, default=None, help="problems (default: 500 of geometry, else all)")
    evaluate.add_argument("--samples", type=int, default=1, help="completions per problem")
    evaluate.add_argument("--temperature", type=float, default=1.0, help="0: greedy")
    evaluate.add_argument("--max-new-tokens", type=int, default=64)
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--out", type=Path, default=None, help="save every generation as JSONL")
    evaluate.set_defaults(run=_evaluate)
    data = commands.add_parser("data", help="look at data").add_subparsers(dest="what", required=True)
    preview = data.add_parser("preview", help="a sheet of problems as PNG")
    preview.add_argument("--data", default="geometry")
    preview.add_argument("--split", default="train")
    preview.add_argument("--limit", type=int, default=12)
    preview.add_argument("--seed", type=int, default=0)
    preview.add_argument("--out", type=Path, default=Path("preview.png"))
    preview.set_defaults(run=_preview)
    return parser


def _train(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from cepo.training.recipe import load_recipe, parse_overrides, resolve_recipe

    values = load_recipe(options.config) | parse_overrides(rest)
    run, config = resolve_recipe(values)
    from cepo.training.run import run_training

    summary = run_training(run, config, say=_say)
    _print_summary(summary, config.run_folder)
    return 0


def _print_summary(summary: dict[str, Any], folder: Path) -> None:
    print(f"\n{summary['method']}: {summary['steps']} steps in {summary['train_seconds']:.0f} s")
    if "difference" in summary:
        before, after, change = summary["before"], summary["after"], summary["difference"]
        for when, result in (("before", before), ("after", after)):
            rate = result["overall"]
            print(f"  accuracy {when:<7} {_percent(rate)}")
        print(f"  change          {_percent(change)}, p = {change['p']:.2g} (paired over problems)")
    credit = summary["credit"]
    if credit:
        size = _shown(credit, "credit/evidence_abs_mean_pos"), _shown(credit, "credit/evidence_abs_mean_neg")
        print(f"  evidence        mean |Delta| {size[0]} nats on right rollouts, {size[1]} on wrong ones")
        low, high = credit.get("credit/clip_low", 0.0), credit.get("credit/clip_high", 0.0)
        print(f"  weights clipped {100 * low:.1f}% of tokens at the lower bound, {100 * high:.1f}% at the upper")
        skipped = credit.get("credit/groups_undecided", 0.0)
        print(f"  groups skipped  {100 * skipped:.0f}% (all right or all wrong: nothing to tell apart)")
    print(f"  run folder      {folder}")
    print(f"\nNext: cepo eval {folder}/model --samples 4\n      cepo train --config recipes/tiny/grpo.yaml")


def _percent(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['mean']:5.1f}%  [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _shown(values: dict[str, float], name: str) -> str:
    return f"{values[name]:.3f}" if name in values else "n/a"


def _evaluate(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from cepo.evaluate import format_report, generate_answers, report, save_generations
    from cepo.tasks.datasets import DataSpec, load_data
    from cepo.training.run import load_model

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


def _preview(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from cepo.reports.sheet import contact_sheet
    from cepo.tasks.datasets import DataSpec, load_data
    from cepo.tasks.geometry import generate

    if options.data == "geometry":
        problems: Any = generate(options.split, options.limit, options.seed)
    else:
        spec = DataSpec(options.data, split=options.split, limit=options.limit, seed=options.seed)
        problems = list(load_data(spec))
    contact_sheet(problems).save(options.out)
    print(f"wrote {options.out}: {len(problems)} problems")
    return 0


def _say(text: str) -> None:
    print(f"cepo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
