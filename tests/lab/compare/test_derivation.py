"""Answers before their derivation, on texts of the geometry task."""

from __future__ import annotations

from random import Random

import pytest

from cepo.evaluate import Generation
from cepo.geometry import generate
from cepo.geometry.problems import drafts, work_wrongly
from cepo.lab.compare.derivation import Derivation, Solutions, answer_first, derivation, numbers_before, read_solutions

RIGHT = "The angles of a triangle sum to 180. 47+80=127. 180-127=53. \\boxed{53}"
AT_ONCE = "On parallel lines these angles are equal. The angle is 63. \\boxed{63}"


@pytest.mark.parametrize(
    ("text", "answer", "first", "before"),
    [
        (RIGHT, "53", False, 6),
        (AT_ONCE, "63", True, 0),
        ("\\boxed{53}", "53", True, 0),
        ("The answer is 53. 180-127=53. \\boxed{53}", "53", True, 0),
        ("x=5. x+2=5x-18. \\boxed{5}", "5", True, 0),
        ("x+2=5x-18. 4x=20. x=5. \\boxed{5}", "5", False, 5),
        ("180-127=53. \\boxed{53}", "53", False, 2),
        ("3+4=3. \\boxed{3}", "3", False, 2),  # an operand that equals the answer states nothing
        ("36/2=18. \\boxed{36}", "36", False, 3),
        ("6^2=36. \\boxed{6}", "6", False, 3),
        ("It is 53 - 3. \\boxed{53}", "53", False, 2),
        ("53.0 \\boxed{53}", "53", True, 0),
        ("no number at all", "53", False, None),
        (RIGHT, None, False, None),
        (RIGHT, "\\sqrt{2}", False, None),
        ("9" * 400 + " \\boxed{1}", "1", False, 1),
    ],
)
def test_where_the_answer_is_stated(text: str, answer: str | None, first: bool, before: int | None) -> None:
    assert answer_first(text, answer) is first
    assert numbers_before(text, answer) == before


def completion(name: str, text: str, answer: str, extracted: str | None, family: str | None = "f") -> Generation:
    return Generation(name, family, answer, text, extracted, extracted == answer, truncated=False)


def test_shares_by_hand() -> None:
    solutions = Solutions({"p": RIGHT, "q": AT_ONCE}, frozenset({"parallel"}))
    generations = [
        completion("p", RIGHT, "53", "53"),
        completion("p", "180-127=53. \\boxed{53}", "53", "53"),  # shortened
        completion("p", "\\boxed{53}", "53", "53"),  # first, shortened
        completion("p", "\\boxed{54}", "53", "54"),  # first; wrong, so not asked whether shortened
        completion("q", AT_ONCE, "63", "63", family="parallel"),  # asked for its length alone
        completion("unknown", "\\boxed{1}", "1", "1"),  # no solution: says nothing
    ]
    assert derivation(generations, solutions) == Derivation(answer_first=2 / 4, shortened=2 / 4)
    assert derivation(generations[-1:], solutions) == Derivation(None, None)


def test_families_that_state_answers_at_once() -> None:
    rows = [
        {"id": "p", "family": "sum", "answer": "53", "solution": RIGHT},
        {"id": "q", "family": "parallel", "answer": "63", "solution": AT_ONCE},
        {"id": "r", "family": None, "answer": "63", "solution": AT_ONCE},
        {"id": "s", "family": "sum", "answer": "1", "solution": None},
    ]
    solutions = read_solutions(rows)
    assert solutions.texts.keys() == {"p", "q", "r"}
    assert solutions.at_once == {"parallel", "#r"}
    assert read_solutions([{"id": "p", "answer": "1"}]) == Solutions({}, frozenset())


def test_geometrys_own_solutions_are_no_leak() -> None:
    """Right solutions and wrong ones of every family: none is called first or shortened."""
    problems = generate("held_out", 300)
    solutions = read_solutions(
        {"id": p.id, "family": p.family, "answer": p.answer, "solution": p.solution} for p in problems
    )
    assert solutions.at_once == {"parallel_lines"}
    right = [completion(p.id, p.solution, p.answer, p.answer, p.family) for p in problems]
    assert derivation(right, solutions) == Derivation(0.0, 0.0)
    leaked = [completion(p.id, f"\\boxed{{{p.answer}}}", p.answer, p.answer, p.family) for p in problems]
    assert derivation(leaked, solutions).answer_first == 1.0
    rng, stream, wrong = Random(0), drafts("held_out", 0), []
    for problem in problems:
        worked = work_wrongly(next(stream), rng)
        wrong.append(completion(problem.id, worked.text, problem.answer, str(worked.answer), problem.family))
    assert derivation(wrong, solutions).answer_first == 0.0
