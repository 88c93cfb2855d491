"""`cepo train`: train from a recipe."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cepo.cli.console import Commands, add_command, say

if TYPE_CHECKING:
    from cepo.evaluate import Score
    from cepo.runs.recipe import RunConfig
    from cepo.runs.summary import RunSummary
    from cepo.stats import Difference

__all__ = ["STOPPED", "add"]

STOPPED = 3
"""The exit code of a run that a callback has ended before its last step."""


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "train", "train from a recipe; --field value overrides any of its fields",
        "cepo train --config recipes/tiny_text/decisive.yaml --seed 1",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="recipe (YAML)")
    parser.set_defaults(run=run, takes_fields=True)


def run(options: argparse.Namespace) -> int:
    from cepo.runs.recipe import load_recipe, parse_overrides, resolve_recipe
    from cepo.runs.trackers import keep_in_folder, with_trackers

    values = load_recipe(options.config) | parse_overrides(options.fields)
    run, config = resolve_recipe(with_trackers(values))
    if "report_to" not in values and config.report_to:
        keep_in_folder(config.run_folder, os.environ, Path.home())
        say(f"reports to {', '.join(config.report_to)}, as nothing else was said (docs/trackers.md)")
    from cepo.runs.run import run_training

    summary = run_training(run, config, say=say)
    if summary is None:
        print(f"already finished: {config.run_folder} has all that is asked for; nothing was changed")
        return 0
    if summary.state == "stopped":
        return STOPPED
    print_summary(summary, config.run_folder)
    baseline = baseline_command(options.config, config.method, parse_overrides(options.fields))
    look = shlex.join(["cepo", "report", str(config.run_folder)])
    evaluate = [] if run.tools else [next_command(run, config.run_folder)]
    print("\nNext: " + "\n      ".join([look, *evaluate, *baseline]))
    return 0


def next_command(run: RunConfig, folder: Path) -> str:
    """How the run's model is evaluated: on the run's own held-out data where it has some."""
    data = []
    if run.eval_data is None and run.data != "geometry":
        data = ["--data", run.data, "--split", run.data_split]
    return shlex.join(["cepo", "eval", str(folder), *data, "--samples", "4"])


def baseline_command(recipe: Path, method: str, overrides: Mapping[str, object]) -> list[str]:
    """How GRPO is trained under the same budget: the recipe's neighbour with the same words, where there is one."""
    from cepo.runs.recipe import CREDIT_FIELDS, find_recipe

    neighbour = recipe.with_name("grpo.yaml")
    if method == "grpo" or not find_recipe(recipe).with_name("grpo.yaml").is_file():
        return []
    kept = {name: value for name, value in overrides.items() if name not in CREDIT_FIELDS - {"seed"}}
    words = [word for name, value in kept.items() for word in (f"--{name}", str(value))]
    return [shlex.join(["cepo", "train", "--config", str(neighbour), *words])]


def print_summary(summary: RunSummary, folder: Path) -> None:
    """What a newcomer wants to know when a run ends."""
    print(f"\n{summary.method}: {summary.steps} steps in {summary.train_seconds:.0f} s")
    before, after, change = summary.before, summary.after, summary.difference
    if before is not None and after is not None:
        problems = f"{before.problems} held-out problems x {before.samples}"
        print(f"  accuracy before {_percent(before.overall)}   ({problems}, 95% intervals)")
        print(f"  accuracy after  {_percent(after.overall)}")
    if change is not None:
        print(f"  change          {_percent(change)}, p = {change.p:.2g} (paired over problems)")
    credit = summary.credit
    if credit:
        size = _shown(credit, "credit/evidence_abs_mean_pos"), _shown(credit, "credit/evidence_abs_mean_neg")
        print(f"  evidence        mean |Delta| {size[0]} nats on right rollouts, {size[1]} on wrong ones")
        low, high = credit.get("credit/clip_low", 0.0), credit.get("credit/clip_high", 0.0)
        print(f"  weights clipped {100 * low:.1f}% of tokens at the lower bound, {100 * high:.1f}% at the upper")
        skipped = credit.get("credit/groups_undecided", 0.0)
        print(f"  groups skipped  {100 * skipped:.0f}% (all right or all wrong: nothing to tell apart)")
    print(f"  run folder      {folder}")


def _percent(found: Score | Difference) -> str:
    from cepo.stats import Estimate

    return Estimate(found.mean, found.low, found.high).text(unit="%")


def _shown(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.3f}" if name in values else "n/a"
