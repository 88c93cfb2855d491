"""Steps to a stated accuracy, and to the baseline's own final accuracy, as ratios paired by seed.

A run that does not reach its target by its last step is censored: its steps are known to be more than its length. It
is never left out. It enters with its length, so that the mean is a lower bound, which is said (`>=`), and an interval
is not given: its upper end would be made up. Where the baseline's run is censored, the ratio is bounded from above;
where runs of both are, nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from cepo.lab.compare.measures import Curve, curve_of, final_target
from cepo.lab.compare.results import Results
from cepo.stats import Difference, Estimate, geometric_mean, mean_interval, p_text, paired_ratio

__all__ = ["Race", "race_in_words", "races"]


@dataclass(frozen=True, slots=True)
class Race:
    """Optimiser steps of `arm` to a target, and their ratio to those of `other`.

    Attributes:
        target: in words.
        steps: for each seed; None: not reached by the last step.
        length: steps of the run.
        ratio: geometric mean over seeds, with Student's interval of its logarithm; None for the baseline itself, for
            one seed, and where a run is censored.
        bound: `>=` or `<=` of the geometric mean where runs of the one or the other arm are censored.
        why_missing: there are no steps, or no ratio, and this is why.
    """

    arm: str
    other: str
    target: str
    steps: tuple[float | None, ...] = ()
    length: float = 0.0
    ratio: Difference | None = None
    bound: tuple[str, float] | None = None
    why_missing: str | None = None

    @property
    def reached(self) -> int:
        return sum(step is not None for step in self.steps)

    @property
    def mean(self) -> Estimate | None:
        """Mean steps over seeds; without an interval a lower bound where a run is censored."""
        if not self.steps:
            return None
        known = [self.length if step is None else step for step in self.steps]
        if self.reached < len(known) or len(known) < 2:
            return Estimate(sum(known) / len(known))
        return mean_interval(known)

    def steps_text(self) -> str:
        """`63.0 [55.1, 70.9]`; `>= 98.0 (3 of 5)` where two seeds are censored; `never`."""
        if self.mean is None:
            return "missing"
        if not self.reached:
            return "never"
        text = self.mean.text(scale=1.0)
        return text if self.reached == len(self.steps) else f">= {text} ({self.reached} of {len(self.steps)})"

    def ratio_text(self) -> str:
        """`0.62 [0.50, 0.77]`, `>= 0.93`, or `n/a`."""
        if self.bound is not None:
            return f"{self.bound[0]} {self.bound[1]:.2f}"
        return "n/a" if self.ratio is None else self.ratio.estimate.text(2, scale=1.0)

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON; a censored seed is null."""
        found = {name: value for name, value in asdict(self).items() if name not in ("ratio", "bound")}
        bound = None if self.bound is None else {"side": self.bound[0], "value": self.bound[1]}
        return {**found, "ratio": None if self.ratio is None else self.ratio._asdict(), "bound": bound}


def races(results: Results, accuracy: float) -> list[Race]:
    """Every arm to `accuracy`, then every arm to the baseline's final accuracy at the same seed."""
    named = f"{100 * accuracy:g}%"
    final = f"{results.baseline}'s final"
    curves = {arm: _curves(results, arm) for arm in results.arms}
    theirs = curves[results.baseline]
    finals = None if theirs is None else [final_target(curve) for curve in theirs]
    fixed = [_race(results, arm, named, curves, [accuracy] * len(results.seeds)) for arm in results.arms]
    return [*fixed, *(_race(results, arm, final, curves, finals) for arm in results.arms)]


def _curves(results: Results, arm: str) -> list[Curve] | None:
    outcomes = [results.outcomes(run) for run in results.complete(arm) or ()]
    return [curve_of(found, results.shown) for found in outcomes if found is not None] or None


def _race(
    results: Results,
    arm: str,
    target: str,
    curves: dict[str, list[Curve] | None],
    at: Sequence[float] | None,
) -> Race:
    ours, theirs, other = curves[arm], curves[results.baseline], results.baseline
    if results.base is None:
        return Race(arm, other, target, why_missing="the untrained model was not evaluated")
    if ours is None or at is None:
        lacking = [name for name, found in ((arm, ours), (other, theirs)) if found is None]
        return Race(arm, other, target, why_missing=f"runs of {' and '.join(dict.fromkeys(lacking))} are missing")
    steps = tuple(curve.first_step(level) for curve, level in zip(ours, at, strict=True))
    found = Race(arm, other, target, steps, ours[0].end)
    if arm == other or theirs is None:
        return found
    return _against(found, [curve.first_step(level) for curve, level in zip(theirs, at, strict=True)], theirs[0].end)


def _against(ours: Race, theirs: Sequence[float | None], length: float) -> Race:
    """With the ratio of our steps to theirs, or its bound, or why there is neither."""
    if 0.0 in theirs or 0.0 in ours.steps:
        return replace(ours, why_missing="the untrained model is there already")
    late, later = None in ours.steps, None in theirs
    if late and later:
        why = f"neither {ours.arm} nor {ours.other} is there by the last step at every seed"
        return replace(ours, why_missing=why)
    a = [ours.length if step is None else step for step in ours.steps]
    b = [length if step is None else step for step in theirs]
    if late or later:
        value = geometric_mean([x / y for x, y in zip(a, b, strict=True)])
        return replace(ours, bound=(">=" if late else "<=", value))
    if len(a) < 2:
        return replace(ours, why_missing="one seed has no interval")
    return replace(ours, ratio=paired_ratio(a, b))


def race_in_words(race: Race) -> str:
    """One ratio as a sentence: a part of the baseline's steps, more, a bound, or no difference shown."""
    start = f"{race.arm} to {race.target}"
    if race.bound is not None:
        side, value = race.bound
        arm, kind = (race.arm, "at least") if side == ">=" else (race.other, "at most")
        return f"{start}: {kind} {value:.2f} times {race.other}'s steps: {arm} is not there by its end at every seed."
    if race.ratio is None:
        return f"{start}: no ratio to {race.other}'s steps: {race.why_missing}."
    text = f"{race.ratio.estimate.text(2, scale=1.0)} times {race.other}'s steps"
    p = f"p = {p_text(race.ratio.p)}".replace("= <", "< ")
    if race.ratio.low <= 1.0 <= race.ratio.high:
        return f"{start}: no difference shown: {text}, and the interval holds 1 ({p})."
    return f"{start}: {text} ({p})."
