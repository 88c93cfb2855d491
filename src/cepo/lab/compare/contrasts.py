"""An arm against another one: the paired difference of final accuracy, over seeds, over problems, and over both.

What the intervals support is said in a sentence by `in_words`, of which no number comes from anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cepo.errors import RecordError
from cepo.lab.compare.results import Outcome, Results
from cepo.stats import Difference, cluster_values, crossed_difference, holm, p_text, paired_difference

__all__ = ["Contrast", "arm_contrasts", "base_contrasts", "in_words"]

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Contrast:
    """Accuracy of `arm` less that of `other`, in [-1, 1]; positive: `arm` is more often right.

    Attributes:
        seeds: Student over per-seed differences, each of accuracies over the same problems; None for one seed.
        problems: Student over problems (clusters), each the mean over the seeds; what these seeds alone say.
        both: seeds and problems crossed, see `cepo.stats.crossed_difference`; None for one seed. The verdict.
        p_holm: the verdict's p-value, adjusted for the number of arms compared with the same other.
        why_missing: there is no difference, and this is why.
    """

    arm: str
    other: str
    seeds: Difference | None = None
    problems: Difference | None = None
    both: Difference | None = None
    p_holm: float | None = None
    why_missing: str | None = None

    @property
    def verdict(self) -> Difference | None:
        """Over seeds and problems; over problems where there is one seed."""
        return self.both or self.problems

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON."""
        named = {"seeds": self.seeds, "problems": self.problems, "both": self.both}
        found = {name: difference._asdict() if difference else None for name, difference in named.items()}
        return {"arm": self.arm, "other": self.other, **found, "p_holm": self.p_holm, "missing": self.why_missing}


def arm_contrasts(results: Results) -> list[Contrast]:
    """Every arm against the baseline arm, paired by seed and problem; Holm over all of them."""
    return _adjusted(
        [
            _contrast(results, arm, results.baseline, _finals(results, arm), _finals(results, results.baseline))
            for arm in results.arms
            if arm != results.baseline
        ]
    )


def base_contrasts(results: Results) -> list[Contrast]:
    """Every arm against the untrained model, whose one evaluation stands beside each seed; Holm over all of them."""
    base = [results.base] * len(results.seeds) if results.base else None
    return _adjusted([_contrast(results, arm, "base", _finals(results, arm), base) for arm in results.arms])


def _finals(results: Results, arm: str) -> list[Outcome] | None:
    runs = results.complete(arm)
    return None if runs is None else [run.final for run in runs]


def _contrast(
    results: Results, arm: str, other: str, ours: Sequence[Outcome] | None, theirs: Sequence[Outcome] | None
) -> Contrast:
    lacking = [name for name, outcomes in ((arm, ours), (other, theirs)) if outcomes is None]
    if ours is None or theirs is None:
        return Contrast(arm, other, why_missing=f"runs of {' and '.join(lacking)} are missing")
    rows = [_differences(one, two) for one, two in zip(ours, theirs, strict=True)]
    clusters = list(ours[0].clusters.values())
    if len(set(clusters)) < 2:
        return Contrast(arm, other, why_missing="a paired test needs at least two problems")
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    over_problems = cluster_values(mean, clusters)
    problems = paired_difference(over_problems, [0.0] * len(over_problems))
    if len(rows) < 2:
        return Contrast(arm, other, problems=problems)
    accuracies = [outcome.accuracy() for outcome in ours], [outcome.accuracy() for outcome in theirs]
    return Contrast(
        arm,
        other,
        seeds=paired_difference(*accuracies),
        problems=problems,
        both=crossed_difference([cluster_values(row, clusters) for row in rows]),
    )


def _differences(ours: Outcome, theirs: Outcome) -> list[float]:
    if ours.correct.keys() != theirs.correct.keys():
        raise RecordError("the evaluations are not of the same problems: remove their eval/ folders and compare again")
    return [share - theirs.correct[name] for name, share in ours.correct.items()]


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
        points = f"{100 * difference.mean:+.1f} points, and the interval {interval} holds 0"
        return f"no difference shown between {contrast.arm} and {contrast.other}: {points} ({p}).{alone}"
    side = "above" if difference.mean > 0 else "below"
    doubt = ""
    if contrast.p_holm is not None and contrast.p_holm >= ALPHA:
        doubt = " It does not survive the correction for the number of comparisons."
    points = f"{abs(100 * difference.mean):.1f} points {interval}"
    return f"{contrast.arm} is {side} {contrast.other} by {points} ({p}).{doubt}{alone}"
