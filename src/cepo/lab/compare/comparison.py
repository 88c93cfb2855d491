"""`cepo compare` in order: check, choose on validation, train, evaluate, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from cepo.evaluate import load_generations
from cepo.lab.compare.evaluation import Task, base_tasks, tasks, write_tasks
from cepo.lab.compare.experiment import Arm, Experiment, load_experiment
from cepo.lab.compare.plan import Plan, Run, check_data, check_recorded, make_plan, record
from cepo.lab.compare.report import write_report
from cepo.lab.compare.results import read_results
from cepo.lab.compare.reuse import Shelf
from cepo.lab.jobs import Failure, Job, run_jobs
from cepo.lab.progress import shown

__all__ = ["Selected", "compare"]

Say = Callable[[str], None]

WORTH_A_PROCESS = 500
"""Problems that take the tiny model about as long as a process takes to start."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What `select` chose: arm -> value, and arm -> value -> mean accuracy on its split, where all seeds are there."""

    chosen: dict[str, str | None] = field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)


def compare(
    config: Path, out: Path, only: Sequence[str] | None, dry_run: bool, say: Say, reuse: Sequence[Path] = ()
) -> int:
    """Run what is not there yet, write the tables and figures; 1 if a run failed, else 0.

    Args:
        config: the experiment.
        out: folder of runs and results; finished parts in it are kept.
        only: arms to run now; the tables hold all arms, those without runs as missing.
        dry_run: check and say what would be run.
        reuse: folders of other comparisons; a finished run of theirs that is one of ours is copied.

    Raises:
        ExperimentError, RecipeError, ValueError, OSError: the first thing wrong, before anything is run.
    """
    experiment = load_experiment(config)
    arms = [experiment.arm(name) for name in only] if only else list(experiment.arms)
    plan = make_plan(experiment, out)
    for run in _possible(plan, experiment.arms):
        check_recorded(run)
    shelf = Shelf(reuse)
    _announce(plan, arms, shelf, say)
    if any(not run.finished for run in _possible(plan, arms)):
        check_data(plan, [arm.name for arm in arms])
    if dry_run:
        return 0
    failed: dict[str, str] = {}
    selected = _select(plan, arms, shelf, failed, say)
    ready = [arm for arm in arms if arm.name in selected.chosen]
    runs = [plan.run(arm.name, seed, selected.chosen[arm.name]) for arm in ready for seed in experiment.seeds]
    _take(shelf, runs, say)
    _train(plan, runs, "training", failed, say)
    finished = [run for run in runs if run.finished]
    _evaluate(plan, [*base_tasks(plan), *_tasks(plan, finished)], "evaluation", failed, say)
    everything = _select_from(plan, experiment.arms)
    results = read_results(plan, everything.chosen, failed)
    for line in write_report(plan, results, everything.chosen, everything.scores, config):
        say(line)
    for name, why in failed.items():
        say(f"failed: {name}: {why}")
    return 1 if failed else 0


def _possible(plan: Plan, arms: Iterable[Arm]) -> list[Run]:
    """Every run that the arms can lead to, whichever values are chosen."""
    experiment, select = plan.experiment, plan.experiment.select
    if select is None:
        return [plan.run(arm.name, seed) for arm in arms for seed in experiment.seeds]
    seeds = sorted({*experiment.seeds, *select.seeds})
    return [plan.run(arm.name, seed, value) for arm in arms for value in select.values for seed in seeds]


def _candidates(plan: Plan, arms: Iterable[Arm]) -> list[Run]:
    """The runs that `select` chooses from."""
    select = plan.experiment.select
    if select is None:
        return []
    return [plan.run(arm.name, seed, value) for arm in arms for value in select.values for seed in select.seeds]


def _announce(plan: Plan, arms: Sequence[Arm], shelf: Shelf, say: Say) -> None:
    """What the plan holds, and how far each of its runs is."""
    experiment = plan.experiment
    say(
        f"{len(experiment.arms)} arms x {len(experiment.seeds)} seeds in {plan.out}; equal outside of the credit fields"
    )
    for reason in plan.reasons:
        say(f"differs with a reason: {reason}")
    select = experiment.select
    if select is not None:
        say(f"{select.field} of each arm: the best of {', '.join(select.values)} on {select.on}")
    planned = _candidates(plan, arms) or _possible(plan, arms)
    for run in planned:
        found = shelf.find(run)
        state = "finished" if run.finished else f"step {_last_step(run.folder)}/{run.steps}"
        state = state if found is None else f"finished in {found}"
        say(f"  {run.name:<40} {state}")


def _select(plan: Plan, arms: Sequence[Arm], shelf: Shelf, failed: dict[str, str], say: Say) -> Selected:
    """Train and evaluate the candidates, then choose; without `select` every arm is ready."""
    candidates = _candidates(plan, arms)
    _take(shelf, candidates, say)
    _train(plan, candidates, "selection", failed, say)
    finished = [run for run in candidates if run.finished]
    _evaluate(plan, _tasks(plan, finished, selecting=True), "selection's evaluation", failed, say)
    return _select_from(plan, arms)


def _select_from(plan: Plan, arms: Iterable[Arm]) -> Selected:
    """Each arm's value with the best mean accuracy; the first of equals. An arm with a missing candidate has none."""
    select = plan.experiment.select
    if select is None:
        return Selected({arm.name: None for arm in arms})
    found = Selected()
    for arm in arms:
        scores = {value: _score(plan, arm.name, value, select.seeds) for value in select.values}
        found.scores[arm.name] = scores
        known = {value: score for value, score in scores.items() if score is not None}
        if len(known) == len(scores):
            found.chosen[arm.name] = max(known, key=known.__getitem__)
    return found


def _score(plan: Plan, arm: str, value: str, seeds: Sequence[int]) -> float | None:
    accuracies = []
    for seed in seeds:
        (task,) = tasks(plan, plan.run(arm, seed, value), selecting=True)
        if not task.finished:
            return None
        accuracies.append(fmean(generation.correct for generation in load_generations(task.out)))
    return fmean(accuracies)


def _take(shelf: Shelf, runs: Sequence[Run], say: Say) -> None:
    for run in runs:
        found = shelf.take(run)
        if found is not None:
            say(f"{run.name}: taken from {found}")


def _train(plan: Plan, runs: Sequence[Run], title: str, failed: dict[str, str], say: Say) -> None:
    """`cepo train` for the runs that are not finished; each goes on from its own checkpoint, if it has one."""
    jobs = [
        Job(
            name=run.name,
            folder=run.folder,
            log=run.folder / "train.log",
            command=[sys.executable, "-m", "cepo.cli", "train", "--config", str(run.folder / "recipe.yaml")],
            prepare=lambda run=run: record(run),
            done=lambda run=run: run.finished,
            progress=lambda run=run: (run.steps if run.finished else _last_step(run.folder), run.steps),
        )
        for run in runs
    ]
    _run(jobs, plan.experiment, title, failed, say)


def _tasks(plan: Plan, runs: Sequence[Run], *, selecting: bool = False) -> list[Task]:
    return [task for run in runs for task in tasks(plan, run, selecting=selecting)]


def _evaluate(plan: Plan, given: Sequence[Task], title: str, failed: dict[str, str], say: Say) -> None:
    """Make the generations that are missing, a few processes sharing them: each loads its libraries once."""
    todo = [task for task in given if not task.finished]
    problems = sum(task.count for task in todo)
    workers = min(plan.experiment.jobs, len(todo), 1 + problems // WORTH_A_PROCESS)
    jobs = [_worker(plan.out / "evaluation" / f"worker-{index}", todo[index::workers]) for index in range(workers)]
    _run(jobs, plan.experiment, title, failed, say)


def _worker(folder: Path, given: Sequence[Task]) -> Job:
    path = folder / "tasks.json"
    return Job(
        name=folder.name,
        folder=folder,
        log=folder / "evaluate.log",
        command=[sys.executable, "-m", "cepo.lab.compare.evaluation", str(path)],
        prepare=lambda: write_tasks(given, path),
        done=lambda: all(task.finished for task in given),
        progress=lambda: (sum(task.finished for task in given), len(given)),
    )


def _run(jobs: Sequence[Job], experiment: Experiment, title: str, failed: dict[str, str], say: Say) -> None:
    if all(job.done() for job in jobs):
        return
    with shown(title) as show:
        failures: Mapping[str, Failure] = run_jobs(jobs, experiment.jobs, show)
    for name, failure in failures.items():
        failed[name] = f"{failure.reason}; see {failure.log}"
        say(f"{name}: {failed[name]}; its last lines:")
        for line in failure.tail:
            say(f"    {line}")


def _last_step(folder: Path) -> int:
    """The last logged step of a run; 0 before the first."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return 0
    for line in reversed(path.read_text().splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (json.JSONDecodeError, KeyError):
            continue  # cut short by a kill, or being written
    return 0
