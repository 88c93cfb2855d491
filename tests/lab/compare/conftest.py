"""Experiments of a few lines, results made by hand, and processes that are played instead of run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cepo.evaluate import Generation, save_generations
from cepo.lab.compare.derivation import Derivation
from cepo.lab.compare.results import Outcome, Results, RunResult
from cepo.lab.jobs import Failure, Job

RECIPE: dict[str, Any] = {
    "model": "tiny",
    "data": "geometry",
    "data_limit": 8,
    "learning_rate": "1e-3",
    "lr_scheduler_type": "constant",
    "max_steps": 2,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_generations": 4,
    "max_completion_length": 40,
    "logging_steps": 1,
    "report_to": "none",
    "bf16": False,
    "gradient_checkpointing": False,
    "save_total_limit": 1,  # the comparison keeps every checkpoint whatever a recipe says
    "eval_data": "geometry",
}
EXPERIMENT: dict[str, Any] = {
    "recipe": "base.yaml",
    "seeds": [0, 1],
    "checkpoint_steps": 1,
    "evaluate": {"limit": 8, "checkpoint_limit": 4},
    "arms": [{"name": "grpo", "method": "grpo"}, {"name": "cepo", "method": "cepo"}],
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the experiment with changed top-level fields (None: left out), over RECIPE changed by `recipe_fields`."""

    def write(recipe_fields: Mapping[str, Any] | None = None, **changed: Any) -> Path:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(RECIPE | dict(recipe_fields or {})))
        content = {name: value for name, value in (EXPERIMENT | changed).items() if value is not None}
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def made_outcome(correct: Sequence[float], families: str = "", answer_first: float | None = 0.25) -> Outcome:
    """Problems p0, p1, ..; one letter of `families` each; every problem its own cluster."""
    names = [f"p{index}" for index in range(len(correct))]
    return Outcome(
        correct=dict(zip(names, correct, strict=True)),
        families=dict(zip(names, families, strict=True)) if families else {},
        clusters={name: name for name in names},
        truncated=0.5,
        no_answer=0.0,
        derivation=Derivation(answer_first, 0.125),
    )


def made_results(
    arms: Mapping[str, Sequence[Sequence[float] | None]],
    base: Sequence[float] | None = None,
    families: str = "",
    metrics: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Results:
    """arm -> for each seed the correctness of each problem at the last step, 2; None: a missing run.

    At step 1 every problem is half right.
    """
    runs, missing = {}, {}
    for arm, seeds in arms.items():
        for seed, correct in enumerate(seeds):
            if correct is None:
                missing[arm, seed] = "not run"
                continue
            outcomes = {1: made_outcome([0.5] * len(correct), families), 2: made_outcome(correct, families)}
            runs[arm, seed] = RunResult(arm, seed, 2, outcomes, (metrics or {}).get(arm, ()), {"torch": "2"})
    return Results(
        arms=tuple(arms),
        baseline=next(iter(arms)),
        seeds=tuple(range(len(next(iter(arms.values()))))),
        base=None if base is None else made_outcome(base, families),
        runs=runs,
        missing=missing,
        shown=2,
    )


def learning_results(
    arms: Mapping[str, Sequence[Sequence[float]]],
    base: float | None = 0.25,
    every: int = 10,
    roles: Mapping[str, str] | None = None,
    controls: Mapping[str, tuple[str, ...]] | None = None,
) -> Results:
    """arm -> for each seed the accuracy at `every` step after 0; the same on each of four problems.

    Problems do not vary, so that the interval over seeds and problems is Student's over seeds.
    """
    runs = {}
    for arm, seeds in arms.items():
        for seed, accuracies in enumerate(seeds):
            outcomes = {every * (index + 1): made_outcome([value] * 4) for index, value in enumerate(accuracies)}
            runs[arm, seed] = RunResult(arm, seed, every * len(accuracies), outcomes)
    return Results(
        arms=tuple(arms),
        baseline=next(iter(arms)),
        seeds=tuple(range(len(next(iter(arms.values()))))),
        base=None if base is None else made_outcome([base] * 4),
        runs=runs,
        missing={},
        shown=4,
        roles=roles or {},
        controls=controls or {},
    )


class PlayedJobs:
    """Stands in for `run_jobs`: writes what a training or an evaluation would leave, and counts them.

    `accuracy(run name, split)` says how many of the problems are right, `accuracy_at(run name, step)` where it is not
    None; `fails` names trainings that fail.
    """

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.evaluated: list[str] = []
        self.accuracy: Callable[[str, str], float] = lambda run, split: 0.5
        self.accuracy_at: Callable[[str, int], float | None] = lambda run, step: None
        self.fails: set[str] = set()

    def __call__(self, jobs: Sequence[Job], parallel: int, show: Any) -> dict[str, Failure]:
        failures = {}
        for job in jobs:
            if job.done():
                continue
            job.folder.mkdir(parents=True, exist_ok=True)
            job.prepare()
            if job.log.stem == "evaluate":
                self._evaluate(job.folder)
            elif job.name in self.fails:
                failures[job.name] = Failure("it ended with exit code 1", job.log, ("ValueError: no",))
            else:
                self._train(job)
        return failures

    def _train(self, job: Job) -> None:
        self.trained.append(job.name)
        recipe = yaml.safe_load((job.folder / "recipe.yaml").read_text())
        lines = [{"step": 1, "completions/mean_length": 30.0, "phase/update_cpu_s": 2.0}]
        if recipe["method"] == "cepo":
            lines[0] |= {"credit/tokens_positive": 0.5, "credit/tokens_negative": 0.25, "credit/tokens_zero": 0.25}
        (job.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (job.folder / "versions.json").write_text('{"torch": "2"}')
        (job.folder / "summary.json").write_text(json.dumps({"steps": 1, "train_seconds": 1.0}))

    def _evaluate(self, folder: Path) -> None:
        for task in json.loads((folder / "tasks.json").read_text()):
            out, name = Path(task["out"]), task["run"]
            self.evaluated.append(f"{name}@{task['step']}")
            share = self.accuracy_at(name, task["step"]) if name != "base" else None
            if share is None:
                share = self.accuracy(name, task["protocol"]["split"])
            right = share * task["count"]
            out.parent.mkdir(parents=True, exist_ok=True)
            save_generations([_generation(index, index < right) for index in range(task["count"])], out)


def _generation(index: int, correct: bool) -> Generation:
    return Generation(f"f/{index}#0", "f", "7", "3+4=7. \\boxed{7}", "7", correct, truncated=False)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedJobs:
    jobs = PlayedJobs()
    monkeypatch.setattr("cepo.lab.compare.comparison.run_jobs", jobs)
    return jobs
