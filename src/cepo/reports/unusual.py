"""What is unusual about a run, from its logged numbers alone, each with the paragraph of the documentation on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

__all__ = ["PAGE", "Metrics", "Unusual", "unusual"]

Metrics = Mapping[str, Sequence[Sequence[float]]]
"""Name -> [step, value] for each step that logged it, in order."""

PAGE = "report.md"
"""The page of the documentation that explains each."""

RECENT = 20
"""Logged steps that a look at the present covers."""
ENOUGH = 30
"""Logged steps before a reward is called flat."""
MOST_UNDECIDED = 0.5
MOST_CLIPPED = 0.9
LEAST_ENTROPY = 0.3
"""Of the entropy at the start."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """One thing to look at.

    Attributes:
        name: in two to four words; also the heading in the documentation.
        says: what was seen, with its numbers.
        remedy: what to do first.
    """

    name: str
    says: str
    remedy: str

    @property
    def anchor(self) -> str:
        """The heading's address within the page."""
        return self.name.lower().replace(" ", "-")


def unusual(metrics: Metrics) -> list[Unusual]:
    """What a careful reader would remark upon, in a fixed order. Too few steps, or not logged: nothing is said."""
    looks: tuple[Callable[[Metrics], Unusual | None], ...] = (
        _reward_flat, _groups_undecided, _evidence_at_the_null_floor, _clip_saturated, _entropy_falling,
    )  # fmt: skip
    return [found for look in looks if (found := look(metrics)) is not None]


def _values(metrics: Metrics, name: str) -> list[float]:
    return [point[1] for point in metrics.get(name, ())]


def _recent(metrics: Metrics, *names: str) -> float | None:
    """The mean over the last steps of what was logged; of several metrics their sum. None: none was."""
    means = [fmean(values[-RECENT:]) for name in names if len(values := _values(metrics, name)) >= RECENT]
    return sum(means) if means else None


def _reward_flat(metrics: Metrics) -> Unusual | None:
    """The last third of the rewards is not above the first by two standard errors of their difference."""
    rewards = _values(metrics, "reward")
    third = len(rewards) // 3
    if len(rewards) < ENOUGH:
        return None
    first, last = rewards[:third], rewards[-third:]
    error = math.sqrt((variance(first) + variance(last)) / third)
    if fmean(last) - fmean(first) > 2 * error:
        return None
    return Unusual(
        "Reward flat",
        f"the reward has not risen: {fmean(first):.3f} in the first third of {len(rewards)} logged steps, "
        f"{fmean(last):.3f} in the last",
        "take problems that the model solves sometimes, then a higher learning rate",
    )


def _groups_undecided(metrics: Metrics) -> Unusual | None:
    name = "credit/groups_undecided" if "credit/groups_undecided" in metrics else "frac_reward_zero_std"
    share = _recent(metrics, name)
    if share is None or share <= MOST_UNDECIDED:
        return None
    return Unusual(
        "Groups undecided",
        f"{100 * share:.0f}% of the recent groups are all right or all wrong, and teach nothing",
        "take harder or easier problems, or resample_dead_groups: 2",
    )


def _evidence_at_the_null_floor(metrics: Metrics) -> Unusual | None:
    floor = _values(metrics, "credit/null_p90")[-RECENT:]
    signs = [_recent(metrics, f"credit/evidence_abs_mean_{sign}") for sign in ("pos", "neg")]
    size = max((value for value in signs if value is not None), default=None)
    if not floor or size is None or size > fmean(floor):
        return None
    return Unusual(
        "Evidence at the null floor",
        f"mean |evidence| is {size:.3f} nats, and references that say nothing give {fmean(floor):.3f}",
        "the model does not read its reference: compare prompts and reference forms with cepo audit",
    )


def _clip_saturated(metrics: Metrics) -> Unusual | None:
    share = _recent(metrics, "credit/clip_low", "credit/clip_high")
    if share is None or share <= MOST_CLIPPED:
        return None
    return Unusual(
        "Clip saturated",
        f"{100 * share:.0f}% of the recent weights are clipped: the credit is only a sign",
        "raise credit_clip, or look whether the evidence is large for a reason",
    )


def _entropy_falling(metrics: Metrics) -> Unusual | None:
    entropy = _values(metrics, "entropy")
    if len(entropy) < ENOUGH:
        return None
    start, now = fmean(entropy[: ENOUGH // 3]), fmean(entropy[-ENOUGH // 3 :])
    if now >= LEAST_ENTROPY * start:
        return None
    return Unusual(
        "Entropy falling",
        f"the entropy fell from {start:.3f} to {now:.3f} nats a token: rollouts become alike, groups undecided",
        "lower the learning rate, or raise temperature or epsilon_high",
    )
