"""Each arm's value of the tuned field, chosen on seeds and a split that nothing is reported of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cepo.evaluate import load_generations
from cepo.lab.compare.arms import Arm
from cepo.lab.compare.derivation import Solutions
from cepo.lab.compare.evaluation import Task, base_tasks, tasks
from cepo.lab.compare.measures import area_of
from cepo.lab.compare.plan import Plan, Run
from cepo.lab.compare.results import Outcome, outcome

__all__ = ["Tuned", "candidates", "choose"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` chose.

    Attributes:
        chosen: arm -> value; None without a grid. An arm whose candidates are not all there has no entry.
        scores: arm -> value -> mean score over the seeds in [0, 1], None where one is missing; without the arms that
            have one value, or take another arm's.
    """

    chosen: dict[str, str | None] = field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def at_an_end(self) -> list[str]:
        """One sentence for each arm whose best value is the least or the greatest number that was tried."""
        found = []
        for arm, scores in self.scores.items():
            tried, value = _in_order(scores), self.chosen.get(arm)
            if tried and value in (tried[0], tried[-1]):
                said = f"{value} is at an end of what was tried ({', '.join(tried)})"
                found.append(f"{arm}: {said}: its best may lie beyond, and it may be shown below what it can do")
        return found


def candidates(plan: Plan, arms: Iterable[Arm]) -> list[Run]:
    """The runs that choose for these arms; an arm with one value needs none."""
    experiment = plan.experiment
    if experiment.tune is None:
        return []
    tuned = dict.fromkeys(experiment.tuned_as(arm).name for arm in arms)
    grids = {name: experiment.grid(experiment.arm(name)) for name in tuned}
    return [
        plan.run(name, seed, value)
        for name, values in grids.items()
        if len(values) > 1
        for value in values
        for seed in experiment.tune.seeds
    ]


def choose(plan: Plan, arms: Iterable[Arm]) -> Tuned:
    """Each arm's value with the best mean score; the first of equals."""
    experiment, arms = plan.experiment, list(arms)
    if experiment.tune is None:
        return Tuned({arm.name: None for arm in arms})
    found, reader = Tuned(), _Scores(plan)
    for name in dict.fromkeys(experiment.tuned_as(arm).name for arm in arms):
        values = experiment.grid(experiment.arm(name))
        if len(values) == 1:
            found.chosen[name] = values[0]
            continue
        scores = {value: reader.mean(name, value, experiment.tune.seeds) for value in values}
        found.scores[name] = scores
        known = {value: score for value, score in scores.items() if score is not None}
        if len(known) == len(scores):
            found.chosen[name] = max(known, key=known.__getitem__)
    of = {arm.name: experiment.tuned_as(arm).name for arm in arms}
    return Tuned({name: found.chosen[tuned] for name, tuned in of.items() if tuned in found.chosen}, found.scores)


class _Scores:
    """Scores of candidates; the untrained model's generations are read once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._base: Outcome | None = None

    def mean(self, arm: str, value: str, seeds: Sequence[int]) -> float | None:
        scores = [self._of(self._plan.run(arm, seed, value)) for seed in seeds]
        known = [score for score in scores if score is not None]
        return fmean(known) if len(known) == len(scores) else None

    def _of(self, run: Run) -> float | None:
        experiment = self._plan.experiment
        given = tasks(self._plan, run, tuning=True)
        if not all(task.finished for task in given):
            return None
        if experiment.tune is None or experiment.tune.by == "final":
            return _read(given[-1]).accuracy()
        (untrained,) = base_tasks(self._plan, tuning=True)
        if self._base is None and untrained.finished:
            self._base = _read(untrained)
        if self._base is None:
            return None
        outcomes = {0: self._base} | {task.step: _read(task) for task in given}
        return fmean(area_of(outcomes, min(task.count for task in given)).values())


def _read(task: Task) -> Outcome:
    return outcome(load_generations(task.out), Solutions({}, frozenset()), task.protocol.data)


def _in_order(values: Iterable[str]) -> list[str]:
    """By size; empty where they are not all numbers."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return []
