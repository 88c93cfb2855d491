"""What the run folders hold, read once: outcomes of checkpoints, logged metrics, and what is missing and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import cast

from cepo.data.sources import is_procedural
from cepo.evaluate import Generation, load_generations
from cepo.lab.compare.credited import read_credited
from cepo.lab.compare.derivation import Derivation, Solutions, Worked, derivation, read_solutions
from cepo.lab.compare.evaluation import Protocol, Task, base_tasks, load_problems, tasks
from cepo.lab.compare.plan import Plan, Run

__all__ = ["Line", "Outcome", "Results", "RunResult", "outcome", "read_results", "solutions_of"]

Line = Mapping[str, float]
"""What was logged at one step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluated checkpoint; shares lie in [0, 1].

    Attributes:
        correct: problem id -> share of its samples that are right, in the order of the data.
        families: problem id -> family, where there are families.
        clusters: problem id -> the numbers it asks about; several pictures of the same numbers are one cluster.
        truncated, no_answer: shares of completions.
    """

    correct: Mapping[str, float]
    families: Mapping[str, str]
    clusters: Mapping[str, str]
    truncated: float
    no_answer: float
    derivation: Derivation

    def accuracy(self, family: str | None = None) -> float:
        """Mean over problems, of one family or of all."""
        return fmean(share for name, share in self.correct.items() if family in (None, self.families.get(name)))

    def first(self, count: int) -> float:
        """Mean over the first `count` problems."""
        return fmean(list(self.correct.values())[:count])


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: step -> outcome (the last step is the trained model), every logged line in order, and how far its credit
    went (`cepo.lab.compare.credited`).
    """

    arm: str
    seed: int
    final_step: int
    outcomes: Mapping[int, Outcome]
    metrics: Sequence[Line] = ()
    versions: Mapping[str, object] = field(default_factory=dict)
    credited: Mapping[str, float] = field(default_factory=dict)

    @property
    def final(self) -> Outcome:
        return self.outcomes[self.final_step]


@dataclass(frozen=True, slots=True)
class Results:
    """All of an experiment.

    Attributes:
        arms: in the order of the experiment; `baseline` is one of them.
        seeds: of every arm.
        base: the model before training, None where it was not evaluated.
        runs: (arm, seed) -> result, for the runs that are complete.
        missing: (arm, seed) -> why there is none.
        shown: problems that every checkpoint was evaluated on: what curves over steps are drawn from.
        roles: arm -> method, oracle, control or baseline; method where it is not named.
        controls: method or oracle -> the controls that are of it.
    """

    arms: tuple[str, ...]
    baseline: str
    seeds: tuple[int, ...]
    base: Outcome | None
    runs: Mapping[tuple[str, int], RunResult]
    missing: Mapping[tuple[str, int], str]
    shown: int
    roles: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def role(self, arm: str) -> str:
        return self.roles.get(arm, "baseline" if arm == self.baseline else "method")

    def outcomes(self, run: RunResult) -> Mapping[int, Outcome] | None:
        """Of a run, from the untrained model at step 0 on; None where that one was not evaluated."""
        return None if self.base is None else {0: self.base, **run.outcomes}

    def complete(self, arm: str) -> list[RunResult] | None:
        """The arm's runs in the order of the seeds; None where any is missing, which is never averaged away."""
        runs = [self.runs[arm, seed] for seed in self.seeds if (arm, seed) in self.runs]
        return runs if len(runs) == len(self.seeds) else None

    @property
    def families(self) -> list[str]:
        """In the order of the data."""
        first = self.base or next((run.final for run in self.runs.values()), None)
        return list(dict.fromkeys(first.families.values())) if first else []


def outcome(generations: Sequence[Generation], solutions: Solutions, data: str) -> Outcome:
    """What generations amount to.

    Ids of procedural problems are `<what is asked>#<number>`; elsewhere a problem is its own cluster.
    """
    verdicts: dict[str, list[bool]] = {}
    for generation in generations:
        verdicts.setdefault(generation.id, []).append(generation.correct)
    return Outcome(
        correct={name: fmean(given) for name, given in verdicts.items()},
        families={g.id: g.family for g in generations if g.family is not None},
        clusters={name: name.rpartition("#")[0] if is_procedural(data) else name for name in verdicts},
        truncated=fmean(g.truncated for g in generations),
        no_answer=fmean(g.extracted is None for g in generations),
        derivation=derivation(generations, solutions),
    )


def solutions_of(settings: Protocol) -> Solutions:
    """The worked solutions of all problems of a protocol; none where the data have none."""
    problems = load_problems(settings)
    wanted = [name for name in ("id", "answer", "solution", "family") if name in problems.column_names]
    return read_solutions(cast(Iterable[Worked], problems.select_columns(wanted)))


def read_results(plan: Plan, chosen: Mapping[str, str | None], failed: Mapping[str, str]) -> Results:
    """Read everything that is there.

    Args:
        chosen: arm -> value of the tuned field (None where nothing is tuned); an arm that is not in it has none.
        failed: run name -> why this call could not finish it.
    """
    experiment = plan.experiment
    read = _Reader()
    (base,) = base_tasks(plan)
    runs: dict[tuple[str, int], RunResult] = {}
    missing: dict[tuple[str, int], str] = {}
    for arm in experiment.arms:
        for seed in experiment.seeds:
            if arm.name not in chosen:
                missing[arm.name, seed] = "no value could be chosen for it"
                continue
            run = plan.run(arm.name, seed, chosen[arm.name])
            why = _why_missing(plan, run, failed)
            if why is None:
                runs[arm.name, seed] = read.run(run, tasks(plan, run))
            else:
                missing[arm.name, seed] = why
    return Results(
        arms=tuple(arm.name for arm in experiment.arms),
        baseline=experiment.baseline,
        seeds=experiment.seeds,
        base=read.outcome(base) if base.finished else None,
        runs=runs,
        missing=missing,
        shown=experiment.evaluate.checkpoint_limit or experiment.evaluate.limit,
        roles=experiment.roles,
        controls=experiment.controls_of(),
    )


class _Reader:
    """Reads outcomes; the worked solutions of a protocol are loaded once."""

    def __init__(self) -> None:
        self._solutions: dict[str, Solutions] = {}

    def outcome(self, task: Task) -> Outcome:
        key = task.protocol.key
        if key not in self._solutions:
            self._solutions[key] = solutions_of(task.protocol)
        return outcome(load_generations(task.out), self._solutions[key], task.protocol.data)

    def run(self, run: Run, given: Sequence[Task]) -> RunResult:
        metrics = read_metrics(run.folder)
        return RunResult(
            arm=run.arm,
            seed=run.seed,
            final_step=run.steps,
            outcomes={task.step: self.outcome(task) for task in given},
            metrics=metrics,
            versions=json.loads((run.folder / "versions.json").read_text()),
            credited=read_credited(run.folder / "traces", metrics),
        )


def read_metrics(folder: Path) -> list[Line]:
    """The logged lines of a run; none before its first step."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _why_missing(plan: Plan, run: Run, failed: Mapping[str, str]) -> str | None:
    if run.name in failed:
        return failed[run.name]
    if not run.finished:
        return "not run"
    unfinished = [task.step for task in tasks(plan, run) if not task.finished]
    return f"not evaluated at step {', '.join(map(str, unfinished))}" if unfinished else None
