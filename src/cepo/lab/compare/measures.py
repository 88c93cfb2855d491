"""What is compared: final accuracy, the area under the accuracy curve, and the steps to a stated accuracy.

area      the mean of held-out accuracy over training: trapezoids over the evaluated steps, from the untrained model at
          step 0 to the last step, divided by that length
steps     to a target: where the curve first reaches it, linear between evaluations; None: not by the last step. A curve
          with 12 evaluations or more after step 0 is smoothed by a centred mean of three, its start excepted
"baseline's final"   the target of each seed: the last value but one of the baseline's own smoothed curve, which is the
          mean of its last three evaluations (its last evaluation where curves are too short to be smoothed)

All of them are of the problems that every checkpoint was evaluated on. Final accuracy alone is of all problems, at the
last step, and not smoothed: it is what the trained model has, and its interval holds the luck of that one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise

from cepo.lab.compare.results import Outcome, Results, RunResult

__all__ = ["AREA", "FINAL", "Curve", "Measure", "Scores", "area_of", "curve_of", "final_target"]

Scores = Mapping[str, float]
"""Problem id -> share in [0, 1]."""
_SMOOTHED_FROM = 12
"""Evaluations after step 0 from which curves are smoothed: fewer are too far apart for a mean of three."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number per run, and per problem: what arms are compared by.

    `of`: the scores of a run, whose mean is the run's number; None where the untrained model was not evaluated and the
    measure needs it.
    """

    name: str
    unit: str
    of: Callable[[Results, RunResult], Scores | None]


def _areas(results: Results, run: RunResult) -> Scores | None:
    outcomes = results.outcomes(run)
    return None if outcomes is None else area_of(outcomes, results.shown)


FINAL = Measure("final accuracy", "points", lambda results, run: run.final.correct)
AREA = Measure("area", "points of area", _areas)


def area_of(outcomes: Mapping[int, Outcome], shown: int) -> Scores:
    """The area of each of the first `shown` problems; their mean is the area under the curve of their accuracy.

    Args:
        outcomes: step -> outcome, from step 0 on.
    """
    steps = sorted(outcomes)
    weights = dict.fromkeys(steps, 0.0)
    for left, right in pairwise(steps):
        for end in (left, right):
            weights[end] += (right - left) / 2 / steps[-1]
    problems = islice(outcomes[steps[-1]].correct, shown)
    return {name: sum(weights[step] * outcomes[step].correct[name] for step in steps) for name in problems}


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy in [0, 1] at increasing steps, the first of which is 0."""

    steps: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def end(self) -> float:
        return self.steps[-1]

    @property
    def smooths(self) -> bool:
        return len(self.steps) - 1 >= _SMOOTHED_FROM

    def smoothed(self) -> Curve:
        """By a centred mean of three; the first value stays, the last one is the mean of two."""
        if not self.smooths:
            return self
        windows = (self.accuracy[index - 1 : index + 2] for index in range(1, len(self.steps)))
        return Curve(self.steps, (self.accuracy[0], *(sum(window) / len(window) for window in windows)))

    def first_step(self, target: float) -> float | None:
        """Where the curve first is at `target` or above; None: it never is."""
        if self.accuracy[0] >= target:
            return 0.0
        for (left, before), (right, after) in pairwise(zip(self.steps, self.accuracy, strict=True)):
            if after >= target:
                return left + (right - left) * (target - before) / (after - before)
        return None


def curve_of(outcomes: Mapping[int, Outcome], shown: int) -> Curve:
    """Accuracy over the first `shown` problems, from step 0 on, smoothed where it is long enough."""
    steps = sorted(outcomes)
    return Curve(tuple(map(float, steps)), tuple(outcomes[step].first(shown) for step in steps)).smoothed()


def final_target(curve: Curve) -> float:
    """The final accuracy of a smoothed curve, which the curve itself has reached by its last step."""
    return curve.accuracy[-2 if curve.smooths else -1]
