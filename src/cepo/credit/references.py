"""What teachers are told, chosen within one group: the registry of references. No model, no tensors.

A prompt has a name ("plus", "minus", ...), and a source that chooses what it tells. Rules and distillations ask for
prompts by name; scoring, records, reports, the audit and verl take whatever is registered here.

A rollout is wrong when the grader says so (`Rollout.correct is False`), never because its advantage is
negative. An admissible r- also parses, an answer was extracted from it, and does not say what r+ says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeAlias

from cepo.credit.choice import (
    MAX_REFERENCE_CHARS,
    MINUS_POLICIES,
    NOTHING,
    Choice,
    Fallback,
    MinusPolicy,
    ReferencePolicy,
)
from cepo.credit.sources import bare, feedback, minus, peer, plus, rival, same, solution
from cepo.errors import RuleError
from cepo.glossary import Group, ReferenceForm, Rollout, Told

__all__ = [
    "MAX_REFERENCE_CHARS",
    "MINUS_POLICIES",
    "SOURCES",
    "Choice",
    "Fallback",
    "MinusPolicy",
    "ReferencePolicy",
    "ReferenceSource",
    "References",
    "choose_references",
    "column_source",
    "columns_of",
    "irrelevant_references",
    "register_source",
    "resolve_source",
    "teacher_of",
    "told_by_data",
]

References: TypeAlias = Mapping[str, Told]
"""What the prompts of one row tell, by the prompts' names."""


@dataclass(frozen=True, slots=True)
class ReferenceSource:
    """A prompt and where its reference comes from: one entry of the registry.

    Attributes:
        name: the prompt's name, as rules declare it.
        choose: what one row is told. It may return `NOTHING`: the row then keeps its base advantage.
        columns: columns of the data that it reads, as text in `Group.columns`.
        of_rollout: the form of what it may tell of a rollout, so that lengths are checked for the longest one: an
            answer, a whole solution (with what was said of it: feedback), or whichever of answer and solution the
            policy says. None: it never tells what a rollout says.
        row_free: whether what a row is told does not depend on what the row itself says.
    """

    name: str
    choose: Callable[[Choice], Told]
    columns: tuple[str, ...] = ()
    of_rollout: ReferenceForm | Literal["policy"] | None = None
    row_free: bool = False


def choose_references(
    group: Group, prompts: Sequence[str], policy: ReferencePolicy, *, step: int, index: int
) -> tuple[References, ...]:
    """What every row of a group is told under the given prompts, in row order.

    Args:
        group: the rollouts with the grader's verdicts.
        prompts: names in SOURCES.
        policy: how to choose.
        step: optimiser step, from 1; enters the draws.
        index: the group's place in the global batch; enters the draws.

    Degenerate cases: a row that cannot be told one of them is told none at all (`NOTHING`), and keeps its base
    advantage; without an admissible r- the policy's fallback is named as the source.
    """
    chosen = []
    for row in range(len(group.rollouts)):
        told = {name: SOURCES[name].choose(_choice(group, row, policy, step, index, name)) for name in prompts}
        if any(one.source == NOTHING.source for one in told.values()):
            told = dict.fromkeys(told, NOTHING)
        chosen.append(told)
    return tuple(chosen)


def _choice(group: Group, row: int, policy: ReferencePolicy, step: int, index: int, name: str) -> Choice:
    # r- has had draws without its name from the first release on: runs of then are repeated to the bit.
    own = "" if name.partition("@")[0] == "minus" else f"/{name.partition('@')[0]}"
    return Choice(group, row, policy, Random(f"{policy.seed}/{step}/{index}/{row}{own}"))


NEUTRAL = ("unknown", "unclear")
"""A null contrast's references where the batch offers no two other answers."""


def irrelevant_references(group: Group, others: Sequence[str], rng: Random) -> tuple[str, str]:
    """Two different references that have nothing to do with the group: a null contrast.

    They are drawn from `others` (gold answers of other problems) such that neither is the group's gold answer
    or any answer that it gave. Where there are no two, two neutral words. Their evidence is the noise floor.
    """
    known = [group.gold, *(rollout.answer for rollout in group.rollouts)]
    used = [answer for answer in dict.fromkeys(known) if answer is not None]  # in order: the grader may be asked
    free: list[str] = []
    for other in rng.sample(sorted(set(others)), len(set(others))):
        if not any(same(answer, other) for answer in (*used, *free)):
            free.append(other)
        if len(free) == 2:
            return free[0], free[1]
    return NEUTRAL


def column_source(name: str, column: str, form: ReferenceForm = "answer") -> ReferenceSource:
    """A prompt that tells what a column of the data holds: another model's solution, a hint, a skill card."""

    def choose(choice: Choice) -> Told:
        text = choice.group.columns.get(column)
        return NOTHING if text is None else Told((text,), column, form)

    return ReferenceSource(name, choose, columns=(column,), row_free=True)


def teacher_of(prompt: str) -> str | None:
    """Who reads a prompt: "plus@large" is "plus", read by the teacher "large"; None: the run's default."""
    return prompt.partition("@")[2] or None


def resolve_source(prompt: str) -> bool:
    """Find where a prompt's references come from, and say whether there is such a prompt.

    One that names its teacher ("plus@large") is entered in `SOURCES`, with the source of the same prompt without it.
    """
    base, _, teacher = prompt.partition("@")
    if prompt not in SOURCES and teacher and base in SOURCES:
        SOURCES[prompt] = replace(SOURCES[base], name=prompt)
    return prompt in SOURCES


def told_by_data(name: str, problem: Group, policy: ReferencePolicy) -> Told:
    """What a prompt tells of a problem before there is any rollout; without texts where a rollout would decide."""
    unanswered = Rollout("", None, None, 0.0)
    group = Group(problem.gold, (unanswered,), problem.solution, problem.columns)
    return SOURCES[name].choose(Choice(group, 0, policy, Random(0)))


def columns_of(prompts: Sequence[str]) -> tuple[str, ...]:
    """Columns of the data that these prompts read, beside answer and solution."""
    return tuple(dict.fromkeys(column for name in prompts for column in SOURCES[name].columns))


def register_source(source: ReferenceSource) -> None:
    """Make a prompt of your own known; rules declare it by its name. Registering a name again replaces it.

    Raises:
        RuleError: the name is one of ours, "student", which holds no reference, or names a teacher.
    """
    if source.name in _OURS or source.name == "student":
        raise RuleError(f"there is a prompt {source.name!r} already; choose another name")
    if "@" in source.name:
        raise RuleError(f"prompt {source.name!r}: what follows @ is a teacher, which a rule names; leave it out here")
    SOURCES[source.name] = source


SOURCES: dict[str, ReferenceSource] = {
    source.name: source
    for source in (
        ReferenceSource("plus", plus, of_rollout="policy", row_free=True),
        ReferenceSource("minus", minus, of_rollout="policy"),
        ReferenceSource("rival", rival, of_rollout="policy", row_free=True),
        ReferenceSource("solution", solution, row_free=True),
        ReferenceSource("peer", peer, of_rollout="rationale", row_free=True),
        ReferenceSource("feedback", feedback, of_rollout="feedback"),
        ReferenceSource("bare", bare, row_free=True),
    )
}
"""The registry: prompt name -> where its reference comes from."""

_OURS = frozenset(SOURCES)
