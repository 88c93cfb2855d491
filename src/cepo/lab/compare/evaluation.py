"""Checkpoints -> generations on the same problems with the same sampling seed, each made once and kept.

`python -m cepo.lab.compare.evaluation TASKS.json` makes the generations that are not there yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from datasets import Dataset

from cepo.answers import BOXED, Grading
from cepo.data.datasets import DataSpec, load_data
from cepo.evaluate import NO_STOPS, Stops, generate_answers, save_generations, stops_of
from cepo.lab.compare.plan import Plan, Run
from cepo.models.loading import load_checkpoint
from cepo.models.processor import fix_template_arguments
from cepo.runs.folder import write_atomically

__all__ = ["Protocol", "Task", "base_tasks", "load_problems", "protocol", "run_tasks", "tasks", "write_tasks"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Everything that generations depend on beside the weights: equal protocols are comparable.

    `weights` is the base model's digest, under which even the untrained model's generations are made anew when
    the model changes.
    """

    model: str
    weights: str | None
    data: str
    split: str
    limit: int
    samples: int
    temperature: float
    seed: int
    max_new_tokens: int
    autocast_bf16: bool
    dtype: str
    attention: str | None
    trust_remote_code: bool
    columns: Mapping[str, str]
    drop_invalid: bool
    grading: Grading = BOXED
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)
    stops: Stops = NO_STOPS

    @property
    def key(self) -> str:
        """Names the folder of the generations; equal to what it was before its last three fields were there."""
        record = asdict(self)
        for name, usual in (("grading", BOXED), ("chat_template_kwargs", {}), ("stops", NO_STOPS)):
            if getattr(self, name) == usual:
                del record[name]
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.split}-{digest}"


@dataclass(frozen=True, slots=True)
class Task:
    """One checkpoint to evaluate on the first `count` problems.

    `checkpoint`: a folder; None: the base model. `step`: optimiser steps it has seen.
    """

    run: str
    step: int
    checkpoint: str | None
    count: int
    out: str
    protocol: Protocol

    @property
    def finished(self) -> bool:
        return Path(self.out).is_file()


def protocol(plan: Plan, run: Run, *, tuning: bool = False) -> Protocol:
    """How the checkpoints of a run are evaluated: for the table, or on the split that `tune` chooses on."""
    evaluate, tune = plan.experiment.evaluate, plan.experiment.tune
    settings, config = run.run_config, run.config
    columns = settings.data_columns if settings.eval_columns is None else settings.eval_columns
    split, limit = evaluate.split, evaluate.limit
    if tuning and tune is not None:
        split, limit = tune.on, tune.limit
    return Protocol(
        model=settings.model,
        weights=plan.weights,
        data=evaluate.data,
        split=split,
        limit=limit,
        samples=evaluate.samples,
        temperature=evaluate.temperature,
        seed=evaluate.seed,
        max_new_tokens=config.max_completion_length or 256,
        autocast_bf16=bool(config.bf16),
        dtype=settings.dtype,
        attention=settings.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        columns=json.loads(columns) if columns else {},
        drop_invalid=settings.drop_invalid,
        grading=config.grading,
        chat_template_kwargs=cast(dict[str, object], config.chat_template_kwargs or {}),
        stops=stops_of(config.generation_kwargs),
    )


def tasks(plan: Plan, run: Run, *, tuning: bool = False) -> list[Task]:
    """The checkpoints of a run: every kept one and the last; the last alone where the final accuracy tunes."""
    settings = protocol(plan, run, tuning=tuning)
    tune, every = plan.experiment.tune, plan.experiment.checkpoint_steps
    last_alone = tuning and tune is not None and tune.by == "final"
    between = [] if last_alone else range(every, run.steps, every)
    count = min(plan.experiment.evaluate.checkpoint_limit or settings.limit, settings.limit)
    made = [_task(run.folder, run.name, step, f"checkpoint-{step}", count, settings) for step in between]
    return [*made, _task(run.folder, run.name, run.steps, "model", settings.limit, settings)]


def base_tasks(plan: Plan, *, tuning: bool = False) -> list[Task]:
    """The model before training, step 0."""
    experiment = plan.experiment
    settings = protocol(plan, plan.run(experiment.baseline, experiment.seeds[0]), tuning=tuning)
    return [_task(plan.out / "base", "base", 0, None, settings.limit, settings)]


def _task(folder: Path, run: str, step: int, checkpoint: str | None, count: int, settings: Protocol) -> Task:
    out = folder / "eval" / settings.key / f"step-{step:06d}-{count}.jsonl"
    return Task(run, step, str(folder / checkpoint) if checkpoint else None, count, str(out), settings)


def load_problems(settings: Protocol) -> Dataset:
    """The problems of a protocol, in order."""
    return load_data(
        DataSpec(
            settings.data,
            split=settings.split,
            limit=settings.limit,
            columns=settings.columns,
            drop_invalid=settings.drop_invalid,
            grading=settings.grading,
        )
    )


def write_tasks(given: Sequence[Task], path: Path) -> None:
    """What `python -m cepo.lab.compare.evaluation` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([asdict(task) for task in given], indent=1) + "\n")


def run_tasks(path: Path) -> int:
    """Make the generations of a file of tasks; one that fails does not stop the others. Returns how many failed."""
    failed = 0
    problems: dict[str, Dataset] = {}
    for entry in json.loads(path.read_text()):
        settings = entry["protocol"]
        settings |= {"grading": Grading(**settings["grading"]), "stops": _stops(settings["stops"])}
        task = Task(**entry | {"protocol": Protocol(**settings)})
        if task.finished:
            continue
        print(f"evaluating {task.run} at step {task.step}: {task.count} problems", flush=True)
        try:
            key = task.protocol.key
            problems[key] = problems[key] if key in problems else load_problems(task.protocol)
            _evaluate(task, problems[key])
        except Exception:
            failed += 1
            print(f"{task.run} at step {task.step} could not be evaluated:\n{traceback.format_exc()}", flush=True)
    return failed


def _evaluate(task: Task, problems: Dataset) -> None:
    settings = task.protocol
    model, processor = load_checkpoint(
        task.checkpoint or settings.model,
        base=settings.model,
        dtype=settings.dtype,
        attention=settings.attention,
        trust_remote_code=settings.trust_remote_code,
    )
    fix_template_arguments(processor, settings.chat_template_kwargs)  # a run's own template has them already
    generations = generate_answers(
        model,
        processor,
        problems.select(range(min(task.count, len(problems)))),
        samples=settings.samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
        progress=False,
        autocast_bf16=settings.autocast_bf16,
        grading=settings.grading,
        stops=settings.stops,
    )
    out = Path(task.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    save_generations(generations, part)
    os.replace(part, out)


def _stops(entry: Mapping[str, Any]) -> Stops:
    return Stops(tuple(entry["texts"]), tuple(entry["ids"]), entry["are_kept"])


if __name__ == "__main__":
    sys.exit(1 if run_tasks(Path(sys.argv[1])) else 0)
