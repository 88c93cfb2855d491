"""`cepo compare` in order: check, tune, train, evaluate, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cepo.lab.compare.arms import Arm
from cepo.lab.compare.evaluation import Task, base_tasks, tasks, write_tasks
from cepo.lab.compare.experiment import load_experiment
from cepo.lab.compare.plan import Plan, Run, check_data, check_recorded, make_plan, record
from cepo.lab.compare.report import Report
from cepo.lab.compare.results import read_results
from cepo.lab.compare.reuse import Shelf
from cepo.lab.compare.tuning import candidates, choose
from cepo.lab.forks import Main
from cepo.lab.jobs import Job, run_jobs
from cepo.lab.progress import shown

__all__ = ["compare"]

WORTH_A_PROCESS = 500
"""Problems that take the tiny model about as long as a process takes to start."""


def compare(
    config: Path,
    out: Path,
    only: Sequence[str] | None,
    dry_run: bool,
    say: Callable[[str], None],
    reuse: Sequence[Path] = (),
) -> int:
    """Run what is not there yet, write the tables and figures; 1 if a run failed, else 0.

    Args:
        config: the experiment.
        out: folder of runs and results; finished parts in it are kept.
        only: arms to run now; the tables hold all arms, those without runs as missing.
        dry_run: check and say what would be run.
        reuse: folders of other comparisons; a finished run of theirs that is one of ours is copied.

    Raises:
        CepoError: the first thing wrong, before anything is run.
    """
    experiment = load_experiment(config)
    arms = [experiment.arm(name) for name in only] if only else list(experiment.arms)
    plan = make_plan(experiment, out)
    for run in _possible(plan, experiment.arms):
        check_recorded(run)
    comparison = _Comparison(plan, Shelf(reuse), say)
    comparison.announce(arms)
    if any(not run.finished for run in _possible(plan, arms)):
        check_data(plan, [arm.name for arm in arms])
    if dry_run:
        return 0
    comparison.run(arms)
    everything = choose(plan, experiment.arms)
    results = read_results(plan, everything.chosen, comparison.failed)
    for line in Report(plan, results, everything, config).write():
        say(line)
    for name, why in comparison.failed.items():
        say(f"failed: {name}: {why}")
    return 1 if comparison.failed else 0


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What is run, in order; `failed`: name of a run or an evaluation -> why this call could not finish it."""

    plan: Plan
    shelf: Shelf
    say: Callable[[str], None]
    failed: dict[str, str] = field(default_factory=dict)

    def announce(self, arms: Sequence[Arm]) -> None:
        """What the plan holds, and how far each of its runs is."""
        experiment, say = self.plan.experiment, self.say
        size = f"{len(experiment.arms)} arms x {len(experiment.seeds)} seeds"
        say(f"{size} in {self.plan.out}; equal outside of the credit fields")
        for reason in self.plan.reasons:
            say(f"differs with a reason: {reason}")
        if (tune := experiment.tune) is not None:
            say(f"{tune.field} of each arm: the best by {tune.by} on {tune.on}, of {', '.join(tune.values)}")
        for run in candidates(self.plan, arms) or _possible(self.plan, arms):
            found = self.shelf.find(run)
            state = "finished" if run.finished else f"step {_last_step(run.folder)}/{run.steps}"
            say(f"  {run.name:<40} {state if found is None else f'finished in {found}'}")

    def run(self, arms: Sequence[Arm]) -> None:
        """Train and evaluate the candidates of `tune`, choose, and then train and evaluate what was chosen."""
        plan, base = self.plan, base_tasks(self.plan)
        if plan.experiment.tune is not None:
            tried = self._train(candidates(plan, arms), "tuning")
            given = [task for run in tried for task in tasks(plan, run, tuning=True)]
            self._evaluate([*base_tasks(plan, tuning=True), *given], "tuning's evaluation")
        chosen = choose(plan, arms).chosen
        runs = [plan.run(arm, seed, value) for arm, value in chosen.items() for seed in plan.experiment.seeds]
        trained = self._train(runs, "training")
        self._evaluate([*base, *(task for run in trained for task in tasks(plan, run))], "evaluation")

    def _train(self, runs: Sequence[Run], title: str) -> list[Run]:
        """Take or train what is not finished, each run from its own last checkpoint; returns the finished runs."""
        for run in runs:
            if (found := self.shelf.take(run)) is not None:
                self.say(f"{run.name}: taken from {found}")
        self._run([_training(run) for run in runs], title)
        return [run for run in runs if run.finished]

    def _evaluate(self, given: Sequence[Task], title: str) -> None:
        """Make the generations that are missing, a few processes sharing them: each loads its libraries once."""
        todo = [task for task in given if not task.finished]
        problems = sum(task.count for task in todo)
        workers = min(self.plan.experiment.jobs, len(todo), 1 + problems // WORTH_A_PROCESS)
        folder = self.plan.out / "evaluation"
        self._run([_worker(folder / f"worker-{index}", todo[index::workers]) for index in range(workers)], title)

    def _run(self, jobs: Sequence[Job], title: str) -> None:
        if all(job.done() for job in jobs):
            return
        with shown(title) as show:
            failures = run_jobs(jobs, self.plan.experiment.jobs, show)
        for name, failure in failures.items():
            self.failed[name] = f"{failure.reason}; see {failure.log}"
            self.say(f"{name}: {self.failed[name]}; its last lines:")
            for line in failure.tail:
                self.say(f"    {line}")


def _training(run: Run) -> Job:
    return Job(
        name=run.name,
        folder=run.folder,
        log=run.folder / "train.log",
        command=Main("cepo.cli:main", ["train", "--config", str(run.folder / "recipe.yaml")]),
        prepare=lambda: record(run),
        done=lambda: run.finished,
        progress=lambda: (run.steps if run.finished else _last_step(run.folder), run.steps),
    )


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


def _possible(plan: Plan, arms: Iterable[Arm]) -> list[Run]:
    """Every run that the arms can lead to, whichever values are chosen."""
    experiment = plan.experiment
    reported = [
        plan.run(arm.name, seed, value)
        for arm in arms
        for value in experiment.grid(arm) or (None,)
        for seed in experiment.seeds
    ]
    return [*candidates(plan, arms), *reported]


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
