"""Where a training step's CPU seconds go, with credit and without: `python benchmarks/step.py`.

Each method trains a few steps of a bed (fresh trainer, same seed), the methods in turn, several times over; the table
has medians over steps by phase (benchmarks/phases.py). Credit's share is that of its phases over all the others in the
same steps, so that no difference of two noisy runs is taken. Beside it TRL's own GRPOTrainer is trained, and ours with
method=grpo, in turns: the same rollouts and parameters, so that step i of one is compared with step i of the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from phases import CREDIT, PHASES, StepClock
from provenance import provenance, write_results
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from cepo.data.rewards import bind_reward, get_reward
from cepo.models.loading import load_model
from cepo.runs.problems import load_training
from cepo.runs.recipe import find_recipe, load_recipe, resolve_recipe
from cepo.stats import paired_ratio
from cepo.trainer.trainer import CEPOTrainer

BEDS: dict[str, dict[str, Any]] = {
    "text": {"recipe": "tiny_text/grpo.yaml", "data_limit": 200},
    "vision": {"recipe": "tiny/grpo.yaml", "data_limit": 200, "gradient_accumulation_steps": 2},
}
"""The shipped recipes; of the vision bed a quarter of a step's rows."""

METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"method": "grpo"},
    "cepo, answers": {"method": "cepo"},
    "decisive, answers": {"method": "decisive", "reference_form": "answer"},
    "decisive, solutions": {"method": "decisive", "reference_form": "rationale"},
}
"""Name -> what differs from the recipe. Lambda is above 0 on all of these steps."""

TRL = "TRL's"
PEERS: dict[str, dict[str, Any]] = {
    TRL: {"method": "grpo"},
    "ours": {"method": "grpo"},
    "ours, no records": {"method": "grpo", "trace_groups": 0},
}
"""Name -> what differs from the recipe: the same training three times."""


class _EachStep(TrainerCallback):
    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.ended()


def make_trainer(bed: dict[str, Any], differs: dict[str, Any], folder: str, steps: int, peer: bool = False) -> Any:
    """A fresh trainer of the recipe with fresh weights; `peer`: TRL's own, with the same settings."""
    values = load_recipe(find_recipe(Path(bed["recipe"])))
    values |= {name: value for name, value in bed.items() if name != "recipe"} | differs
    values |= {"max_steps": steps, "output_dir": folder, "save_strategy": "no", "disable_tqdm": True}
    run, config = resolve_recipe(values)
    model, processor = load_model(run.model, run.dtype, run.attn_implementation, False)
    data = load_training(run, config)
    rewards = cast(list[Any], [get_reward(name) for name in run.rewards])
    if not peer:
        return CEPOTrainer(model, rewards, config, train_dataset=data, processing_class=processor)
    known = {name: getattr(config, name) for name in values if name in GRPOConfig.__dataclass_fields__}
    theirs = GRPOConfig(**known | {"remove_unused_columns": False})
    bound = [bind_reward(reward, config.grading) for reward in rewards]
    return GRPOTrainer(model, bound, theirs, train_dataset=data, processing_class=processor)


def train(trainer: Any, clock: StepClock | None) -> list[float]:
    """CPU seconds of each step but the first, which warms caches up."""
    marks: list[float] = []

    def ended() -> None:
        marks.append(time.process_time())
        if clock is not None:
            clock.step_ended()

    trainer.remove_callback(PrinterCallback)  # as `cepo train` does
    trainer.add_callback(_EachStep(ended))
    with warnings.catch_warnings(), clock.installed() if clock else nullcontext():
        warnings.simplefilter("ignore")
        trainer.train()
    return [after - before for before, after in pairwise(marks)]


def profile(bed: str, methods: list[str], steps: int, repetitions: int) -> dict[str, Any]:
    """Method -> phase -> median CPU seconds of a step, and credit's share with its interval over repetitions."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(repetitions):
        for name in methods:
            with tempfile.TemporaryDirectory() as folder:
                trainer, clock = make_trainer(BEDS[bed], METHODS[name], folder, steps + 1), StepClock()
                train(trainer, clock)
                found[name] += clock.steps[1 : steps + 1]
    return {name: _summary(taken) for name, taken in found.items()}


def _summary(steps: list[dict[str, float]]) -> dict[str, Any]:
    medians = {phase: statistics.median(step[phase] for step in steps) for phase in PHASES}
    shares = [share_of(step) for step in steps]
    return {
        "cpu_seconds": medians,
        "step": statistics.median(sum(step.values()) for step in steps),
        "credit_share": statistics.median(shares),
        "credit_share_quartiles": statistics.quantiles(shares, n=4)[::2] if len(shares) > 1 else shares * 2,
        "steps": steps,
    }


def share_of(step: dict[str, float]) -> float:
    """Credit's CPU seconds over all the others of one step."""
    credit = sum(step[phase] for phase in CREDIT)
    return credit / (sum(step.values()) - credit)


def peers(bed: str, steps: int, repetitions: int) -> dict[str, Any]:
    """Ours with method=grpo over TRL's own, step by step: ratios with their 95% intervals."""
    taken: dict[str, list[float]] = {name: [] for name in PEERS}
    for repetition in range(repetitions):
        for name in list(PEERS)[:: -1 if repetition % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                trainer = make_trainer(BEDS[bed], PEERS[name], folder, steps + 1, peer=name == TRL)
                taken[name] += train(trainer, None)
    ratios = {name: paired_ratio(taken[name], taken[TRL])._asdict() for name in PEERS if name != TRL}
    return {"cpu_seconds": taken, "ratios": ratios}


def table(found: dict[str, Any]) -> Iterator[str]:
    """Milliseconds of CPU by phase, in Markdown."""
    yield f"| CPU ms of a step | {' | '.join(found)} |"
    yield f"|---|{'---|' * len(found)}"
    for phase in PHASES:
        cells = [1000 * one["cpu_seconds"][phase] for one in found.values()]
        if any(cell >= 0.05 for cell in cells):
            yield f"| {phase} | {' | '.join(f'{cell:.1f}' for cell in cells)} |"
    steps = [1000 * one["step"] for one in found.values()]
    shares = [one["credit_share"] for one in found.values()]
    yield f"| **whole step** | {' | '.join(f'{step:.1f}' for step in steps)} |"
    yield f"| **credit adds** | {' | '.join(f'{share:.1%}' for share in shares)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--beds", nargs="+", choices=tuple(BEDS), default=list(BEDS))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/step.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"made_by": provenance(1), "steps": options.steps, "repetitions": options.repetitions}
    for bed in options.beds:
        found = profile(bed, options.methods, options.steps, options.repetitions)
        print(f"\n{bed} bed, medians of {options.repetitions * options.steps} steps")
        print("\n".join(table(found)), flush=True)
        results[bed] = {"profile": found}
        if not options.no_peers:
            results[bed]["peers"] = peers(bed, options.steps, options.repetitions)
            for name, ratio in results[bed]["peers"]["ratios"].items():
                print(f"GRPO, {name} / TRL's: {ratio['mean']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]")
    if options.keep:
        print(write_results("step", results))


if __name__ == "__main__":
    main()
