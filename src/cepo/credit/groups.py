"""Groups of graded rollouts: what is right, what a group decides, and which rows get credit.

TRL's trainer, verl's and the audit ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import stdev

from cepo.answers import BOXED, Grading
from cepo.credit.references import ReferencePolicy, References, choose_references
from cepo.credit.rules import Rule
from cepo.errors import DataError
from cepo.glossary import DataRow, Group, Rollout

__all__ = [
    "LocalGroups",
    "Verdicts",
    "deviation",
    "gather_groups",
    "gets_credit",
    "grade_rollouts",
    "is_decided",
    "is_open",
    "pass_rate",
    "problem_of",
    "row_references",
]


@dataclass(frozen=True, slots=True)
class LocalGroups:
    """The groups that this process holds rows of, complete: siblings on other processes included.

    Attributes:
        groups: by their index in the global batch.
        places: local row -> (index of its group, its place there).
        first_row: global index of the first local row.
    """

    groups: Mapping[int, Group]
    places: Mapping[int, tuple[int, int]]
    first_row: int = 0

    def group_of(self, row: int) -> int:
        return self.places[row][0]

    def place_in_group(self, row: int) -> int:
        return self.places[row][1]

    def rollout(self, row: int) -> Rollout:
        group, place = self.places[row]
        return self.groups[group].rollouts[place]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A reward that decides what is right, in place of the grader: a value below `below` is wrong, NaN says nothing."""

    values: Sequence[float]
    below: float

    def verdict(self, row: int) -> bool | None:
        return None if isnan(self.values[row]) else self.values[row] >= self.below


def problem_of(row: DataRow, answer_column: str, solution_column: str, told: Sequence[str] = ()) -> Group:
    """What the data say of a row's problem, as text: a group without rollouts.

    `told`: columns whose text a teacher may be told.
    """

    def text(name: str) -> str | None:
        return None if row.get(name) is None else str(row[name])

    columns = {name: found for name in told if (found := text(name)) is not None}
    return Group(text(answer_column), (), text(solution_column), columns)


def grade_rollouts(
    texts: Sequence[str],
    golds: Sequence[str | None],
    rewards: Sequence[float],
    verdicts: Verdicts | None = None,
    grading: Grading = BOXED,
) -> list[Rollout]:
    """Rollouts with the grader's verdict against `golds`, or with the given ones; all are graded as one batch.

    No verdict (None) without a gold answer, and where the grader was late: such a rollout is neither right nor wrong.
    """
    rows = list(zip(texts, golds, rewards, strict=True))
    correct: list[bool | None] = [None] * len(rows)
    if verdicts is not None:
        correct = [verdicts.verdict(row) for row in range(len(rows))]
    else:
        graded = {row: (text, gold) for row, (text, gold, _) in enumerate(rows) if gold is not None}
        found = grading.verdicts([text for text, _ in graded.values()], [gold for _, gold in graded.values()])
        for row, verdict in zip(graded, found, strict=True):
            correct[row] = None if verdict.is_open else verdict.same
    return [
        Rollout(text=text, answer=grading.extract(text), correct=said, reward=reward)
        for (text, _, reward), said in zip(rows, correct, strict=True)
    ]


def gather_groups(
    local: Sequence[Rollout],
    problems: Sequence[Group],
    group_size: int,
    process_index: int,
    gather: Callable[[list[Rollout]], list[Rollout]],
) -> LocalGroups:
    """Complete the groups of the local rows with their siblings on other processes.

    Args:
        local: graded rollouts of the local rows.
        problems: what the data say of each local row's problem: a group without rollouts.
        gather: everyone's rollouts, in the order of processes (a collective call).

    Raises:
        DataError: rows of one group of which the data say unlike things: one's references would be told to all.
    """
    everyone = gather(list(local))
    first = process_index * len(local)
    groups: dict[int, Group] = {}
    for row, problem in enumerate(problems):
        index = (first + row) // group_size
        if index not in groups:
            members = tuple(everyone[index * group_size : (index + 1) * group_size])
            groups[index] = Group(problem.gold, members, problem.solution, problem.columns)
        elif (own := replace(groups[index], rollouts=())) != problem:
            raise DataError(
                f"the rows of a group are of one problem, but row {row} has {_unlike(problem, own)} other than the "
                "first row of its group: problems must come num_generations rows each, and a rollout_func may not "
                "change what the data say"
            )
    places = {row: divmod(first + row, group_size) for row in range(len(problems))}
    return LocalGroups(groups, places, first)


def _unlike(problem: Group, first: Group) -> str:
    """What of two rows differs, in words."""
    if problem.gold != first.gold:
        return f"an answer ({problem.gold!r}, {first.gold!r})"
    names = [
        name for name in {**problem.columns, **first.columns} if problem.columns.get(name) != first.columns.get(name)
    ]
    return f"a column {names[0]!r}" if names else "a solution"


def row_references(
    groups: LocalGroups, prompts: Sequence[str], policy: ReferencePolicy, step: int
) -> dict[int, References]:
    """Local row -> its references; equal for any number of processes."""
    chosen = {
        index: choose_references(group, prompts, policy, step=step, index=index)
        for index, group in groups.groups.items()
    }
    return {row: chosen[group][place] for row, (group, place) in groups.places.items()}


def is_decided(group: Group) -> bool:
    """Whether the verifier tells the group's rollouts apart: some are right and some are wrong.

    Where it does not, a difference in reward comes from elsewhere (the format, say), and r+ against r- has
    nothing to say about it: such a group keeps its base advantage.
    """
    verdicts = {rollout.correct for rollout in group.rollouts}
    return True in verdicts and False in verdicts


def is_open(groups: LocalGroups, row: int) -> bool:
    """Whether a row has no verdict while siblings have one: the grader was late, and r+ and r- say nothing of it."""
    siblings = groups.groups[groups.group_of(row)].rollouts
    return groups.rollout(row).correct is None and any(sibling.correct is not None for sibling in siblings)


def gets_credit(rule: Rule, group: Group, references: References, advantage: float) -> bool:
    """Whether the rule's credit can matter for a row: it has an advantage, its group is decided (where the rule tells
    references), and there is something to tell under every prompt.

    A rule that `acts_where_equal` also takes rows of groups whose rewards are all equal.
    """
    if rule.assign is None or not all(told.gives_credit for told in references.values()):
        return False
    if rule.acts_where_equal:
        return True
    # A group of equal rewards can keep a rounding residue as its advantage.
    differs = len({rollout.reward for rollout in group.rollouts}) > 1
    return advantage != 0 and differs and (not references or is_decided(group))


def pass_rate(group: Group) -> float:
    """Share of the group's rollouts that are right; a rollout without a verdict is not."""
    return sum(rollout.correct is True for rollout in group.rollouts) / len(group.rollouts)


def deviation(group: Group) -> float:
    """Bessel-corrected standard deviation of the group's rewards, in reward units; 0 for one rollout."""
    rewards = [rollout.reward for rollout in group.rollouts]
    return stdev(rewards) if len(rewards) > 1 else 0.0
