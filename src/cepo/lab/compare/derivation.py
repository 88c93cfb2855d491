"""Whether a completion states its answer before deriving it: what a student learns that has seen the answer leak.

The numbers of a text are read in order. A number next to an operator, a power or a variable (`25+30`, `x^2`, `3x`,
`12/`) is an operand; every other one is a stated result: after `=`, after "is", in a box, or on its own.

answer first   the first number of the completion is a stated result, and is the completion's own final answer
shortened      a right completion that states its answer after fewer numbers than the worked solution does

Both need a worked solution to compare with. Families in which some worked solution itself states its answer first
(equal angles on parallel lines) say nothing about `answer first`, and are left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from cepo.evaluate import Generation

__all__ = ["Derivation", "Solutions", "Worked", "answer_first", "derivation", "numbers_before", "read_solutions"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OPERATORS = frozenset("+-*/^")


@dataclass(frozen=True, slots=True)
class Derivation:
    """Shares in [0, 1]; None where no completion says anything about it."""

    answer_first: float | None
    shortened: float | None


@dataclass(frozen=True, slots=True)
class Solutions:
    """Worked solutions by problem id, and the families (or problems) in which one states its answer first."""

    texts: Mapping[str, str]
    at_once: frozenset[str]


class Worked(TypedDict):
    """A row of the data; where there are worked solutions and families, it has those."""

    id: str
    answer: str
    solution: NotRequired[str | None]
    family: NotRequired[str | None]


def read_solutions(rows: Iterable[Worked]) -> Solutions:
    """The worked solutions of the rows that have one."""
    worked = [(row, solution) for row in rows if (solution := row.get("solution"))]
    at_once = {_kind(row.get("family"), row["id"]) for row, text in worked if answer_first(text, row["answer"])}
    return Solutions({row["id"]: text for row, text in worked}, frozenset(at_once))


def derivation(generations: Sequence[Generation], solutions: Solutions) -> Derivation:
    """Both shares over the completions of problems that have a worked solution."""
    known = [generation for generation in generations if generation.id in solutions.texts]
    first = [answer_first(g.text, g.extracted) for g in known if _kind(g.family, g.id) not in solutions.at_once]
    shorter = [shorter for g in known if (shorter := _is_shortened(g, solutions.texts[g.id])) is not None]
    return Derivation(_share(first), _share(shorter))


def answer_first(text: str, answer: str | None) -> bool:
    """Whether the first number of `text` is a stated result equal to `answer`; False without a numeric answer."""
    value = _value(answer)
    first = _NUMBER.search(text)
    return value is not None and first is not None and _is_stated(text, first) and float(first.group()) == value


def numbers_before(text: str, answer: str | None) -> int | None:
    """How many numbers precede the first statement of `answer` as a result; None where it is never stated."""
    value = _value(answer)
    for count, match in enumerate(_NUMBER.finditer(text)):
        if value is not None and float(match.group()) == value and _is_stated(text, match):
            return count
    return None


def _is_shortened(generation: Generation, solution: str) -> bool | None:
    """None: a wrong completion, or an answer that is no number."""
    if not generation.correct:
        return None
    ours = numbers_before(generation.text, generation.extracted)
    theirs = numbers_before(solution, generation.answer)
    return None if ours is None or theirs is None else ours < theirs


def _is_stated(text: str, match: re.Match[str]) -> bool:
    before, after = text[: match.start()].rstrip()[-1:], text[match.end() :].lstrip()[:1]
    attached = text[match.end() : match.end() + 1].isalpha()
    return before not in _OPERATORS and after not in _OPERATORS and not attached


def _kind(family: str | None, problem: str) -> str:
    """The family, or the problem itself where there are no families."""
    return family if family is not None else f"#{problem}"


def _value(answer: str | None) -> float | None:
    return float(answer) if answer is not None and _NUMBER.fullmatch(answer.strip()) else None


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
