"""Groups that differ in one thing only: who else is in them. The audited rollouts stay the same.

`group size`: the rollouts' own group of 4, and of 8, 16 and 32 around it. `different answers of 4 wrong siblings`: four
wrong rollouts (and a right one) with one, two or four answers among them; one answer is the path that dominates.
`bins_of` only sorts problems, whose groups stay as they are, so that more than one thing differs between its bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cepo.answers import same_answer
from cepo.lab.audit.targets import Target

__all__ = ["Level", "bins_of", "levels_of"]

GROUP_SIZES = (4, 8, 16, 32)
WRONG_SIBLINGS = 4
DIFFERENT = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Level:
    """A setting of one factor, and for each audited rollout the group that it stands in, itself included."""

    factor: str
    value: str
    groups: tuple[tuple[Target, tuple[Target, ...]], ...]


def levels_of(rollouts: Sequence[Target], audited: int) -> list[Level]:
    """The levels of one problem whose `rollouts` were sampled; the first `audited` of them are audited.

    A factor has no level where the problem's rollouts do not allow all of its levels.
    """
    return [*_group_sizes(rollouts, audited), *_different_wrong_answers(rollouts, audited)]


def _group_sizes(rollouts: Sequence[Target], audited: int) -> list[Level]:
    if len(rollouts) < GROUP_SIZES[-1]:
        return []
    levels = []
    for size in GROUP_SIZES:
        groups = []
        for place in range(min(audited, GROUP_SIZES[-1])):
            first = place - place % size
            groups.append((rollouts[place], tuple(rollouts[first : first + size])))
        levels.append(Level("group size", str(size), tuple(groups)))
    return levels


def _different_wrong_answers(rollouts: Sequence[Target], audited: int) -> list[Level]:
    """Groups of an audited rollout, a right one and four wrong ones with 1, 2 or 4 answers, the commonest first."""
    others = rollouts[audited:]
    right = [member for member in others if member.right][:1]
    clusters = _clusters(others)
    counts = [len(cluster) for cluster in clusters]
    if not right or len(counts) < DIFFERENT[-1] or counts[0] < WRONG_SIBLINGS or counts[1] < WRONG_SIBLINGS // 2:
        return []
    levels = []
    for different in DIFFERENT:
        each = WRONG_SIBLINGS // different
        wrong = [member for cluster in clusters[:different] for member in cluster[:each]]
        groups = tuple((rollout, (rollout, *right, *wrong)) for rollout in rollouts[:audited])
        levels.append(Level("different answers of 4 wrong siblings", str(different), groups))
    return levels


def _clusters(rollouts: Sequence[Target]) -> list[list[Target]]:
    """Wrong rollouts by answer, the most frequent answer first."""
    clusters: list[list[Target]] = []
    for rollout in rollouts:
        answer = rollout.rollout.answer
        if rollout.right or answer is None:
            continue
        for cluster in clusters:
            if same_answer(answer, cluster[0].rollout.answer or ""):
                cluster.append(rollout)
                break
        else:
            clusters.append([rollout])
    return sorted(clusters, key=len, reverse=True)


def bins_of(group: Sequence[Target]) -> dict[str, str]:
    """Factor -> bin of a problem by its own group: how many are wrong, and how different their answers are."""
    wrong = sum(not member.right for member in group) / len(group)
    clusters = _clusters(group)
    different = len(clusters)
    modal = len(clusters[0]) / sum(map(len, clusters)) if clusters else 0.0
    return {
        "rejection rate": "1: under 1/3" if wrong < 1 / 3 else "2: to 2/3" if wrong <= 2 / 3 else "3: over 2/3",
        "wrong answers in the group": "1" if different <= 1 else "2-3" if different <= 3 else "4 or more",
        "share of the commonest wrong answer": "1/2 or more" if modal >= 0.5 else "under 1/2",
    }
