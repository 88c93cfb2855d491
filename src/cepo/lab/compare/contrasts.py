"""An arm against another one: the paired difference of a measure, over seeds, over problems, and over both.

What the intervals support is said in a sentence by `in_words`, of which no number comes from anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from cepo.errors import RecordError
from cepo.lab.compare.measures import FINAL, Measure, Scores
from cepo.lab.compare.results import Results
from cepo.stats import Difference, cluster_values, crossed_difference, holm, p_text, paired_difference

__all__ = ["Contrast", "arm_contrasts", "base_contrasts", "control_contrasts", "in_words"]

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Contrast:
    """Measure of `arm` less that of `other`, in [-1, 1]; positive: `arm` is more often right.

    Attributes:
        measure, unit: what is compared, and what a hundredth of it is called.
        seeds: Student over per-seed differences, each of accuracies over the same problems; None for one seed.
        problems: Student over problems (clusters), each the mean over the seeds; what these seeds alone say.
        both: seeds and problems crossed, see `cepo.stats.crossed_difference`; None for one seed. The verdict.
        p_holm: the verdict's p-value, adjusted for the number of arms of the same role compared with the same other.
        why_missing: there is no difference, and this is why.
    """

    arm: str
    other: str
    seeds: Difference | None = None
    problems: Difference | None = None
    both: Difference | None = None
    p_holm: float | None = None
    why_missing: str | None = None
    measure: str = FINAL.name
    unit: str = FINAL.unit

    @property
    def side(self) -> int | None:
        """1: above the other, -1: below it, 0: no difference shown, None: there is no verdict."""
        return None if self.verdict is None else self.verdict.estimate.side

    @property
    def verdict(self) -> Difference | None:
        """Over seeds and problems; over problems where there is one seed."""
        return self.both or self.problems

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON."""
        named = {"seeds": self.seeds, "problems": self.problems, "both": self.both}
        found = {name: difference._asdict() if difference else None for name, difference in named.items()}
        names = {"arm": self.arm, "other": self.other, "measure": self.measure}
        return {**names, **found, "p_holm": self.p_holm, "missing": self.why_missing}


def arm_contrasts(results: Results, measure: Measure = FINAL) -> list[Contrast]:
    """Every arm against the baseline arm, paired by seed and problem; Holm over the arms of the same role.

    Methods are what is claimed of; oracles and controls calibrate, and are no reason to correct what methods do.
    """
    scores = {arm: _scores(results, arm, measure) for arm in results.arms}
    found = {
        arm: _contrast(results, measure, (arm, results.baseline), (scores[arm], scores[results.baseline]))
        for arm in results.arms
        if arm != results.baseline
    }
    adjusted: dict[str, Contrast] = {}
    for role in dict.fromkeys(results.role(arm) for arm in found):
        of_role = [contrast for arm, contrast in found.items() if results.role(arm) == role]
        adjusted |= {contrast.arm: contrast for contrast in _adjusted(of_role)}
    return [adjusted[arm] for arm in found]


def control_contrasts(results: Results, measure: Measure) -> list[Contrast]:
    """Every method and oracle against each of its own controls. A claim needs all of them, so none is adjusted."""
    return [
        _contrast(
            results, measure, (arm, control), (_scores(results, arm, measure), _scores(results, control, measure))
        )
        for arm, controls in results.controls.items()
        for control in controls
    ]


def base_contrasts(results: Results) -> list[Contrast]:
    """Every arm's final accuracy against the untrained model's, whose one evaluation stands beside each seed; Holm
    over all of them.
    """
    base = [results.base.correct] * len(results.seeds) if results.base else None
    return _adjusted(
        [_contrast(results, FINAL, (arm, "base"), (_scores(results, arm, FINAL), base)) for arm in results.arms]
    )


def _scores(results: Results, arm: str, measure: Measure) -> list[Scores] | None:
    """For each seed; None where a run is missing."""
    found = [measure.of(results, run) for run in results.complete(arm) or ()]
    return [scores for scores in found if scores is not None] or None


def _contrast(
    results: Results,
    measure: Measure,
    names: tuple[str, str],
    scores: tuple[Sequence[Scores] | None, Sequence[Scores] | None],
) -> Contrast:
    (arm, other), (ours, theirs) = names, scores
    found = Contrast(arm, other, measure=measure.name, unit=measure.unit)
    lacking = [name for name, given in zip(names, scores, strict=True) if given is None]
    if ours is None or theirs is None:
        return replace(found, why_missing=f"runs of {' and '.join(lacking)} are missing")
    rows = [_differences(one, two) for one, two in zip(ours, theirs, strict=True)]
    known = next(iter(results.runs.values())).final.clusters
    clusters = [known[problem] for problem in ours[0]]
    if len(set(clusters)) < 2:
        return replace(found, why_missing="a paired test needs at least two problems")
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    over_problems = cluster_values(mean, clusters)
    problems = paired_difference(over_problems, [0.0] * len(over_problems))
    if len(rows) < 2:
        return replace(found, problems=problems)
    means = [fmean(one.values()) for one in ours], [fmean(one.values()) for one in theirs]
    both = crossed_difference([cluster_values(row, clusters) for row in rows])
    return replace(found, seeds=paired_difference(*means), problems=problems, both=both)


def _differences(ours: Scores, theirs: Scores) -> list[float]:
    if ours.keys() != theirs.keys():
        raise RecordError("the evaluations are not of the same problems: remove their eval/ folders and compare again")
    return [share - theirs[name] for name, share in ours.items()]


def _adjusted(contrasts: list[Contrast]) -> list[Contrast]:
    verdicts = {contrast.arm: contrast.verdict.p for contrast in contrasts if contrast.verdict is not None}
    found = dict(zip(verdicts, holm(list(verdicts.values())), strict=True))
    return [replace(contrast, p_holm=found.get(contrast.arm)) for contrast in contrasts]


def in_words(contrast: Contrast) -> str:
    """One comparison as a sentence: above, below, or no difference shown; in points of 100.

    A difference is shown where the 95% interval over seeds and problems excludes 0. Where the p-value adjusted
    for the number of comparisons does not stay below 0.05, the sentence says that it does not survive.
    """
    difference = contrast.verdict
    if difference is None:
        return f"nothing can be said of {contrast.arm} and {contrast.other}: {contrast.why_missing}."
    interval = difference.estimate.interval_text(sign=True)
    p = f"p = {p_text(difference.p)}".replace("= <", "< ")
    if contrast.p_holm is not None and contrast.p_holm != difference.p:
        p += f", {p_text(contrast.p_holm)} after Holm"
    alone = "" if contrast.both else " One seed: this holds for this pair of runs, not for the methods."
    if difference.estimate.side == 0:
        points = f"{100 * difference.mean:+.1f} {contrast.unit}, and the interval {interval} holds 0"
        return f"no difference shown between {contrast.arm} and {contrast.other}: {points} ({p}).{alone}"
    side = "above" if difference.mean > 0 else "below"
    doubt = ""
    if contrast.p_holm is not None and contrast.p_holm >= ALPHA:
        doubt = " It does not survive the correction for the number of comparisons."
    points = f"{abs(100 * difference.mean):.1f} {contrast.unit} {interval}"
    return f"{contrast.arm} is {side} {contrast.other} by {points} ({p}).{doubt}{alone}"
