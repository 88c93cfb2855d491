r"""The verdict on an answer: which rule decided, how long it took, and whether it stayed open.

`docs/grader.md` states every rule with examples. In short: equal text, options, words, then what our own
parser reads (numbers exactly, expressions by value, tuples, sets, intervals, equations), and math-verify, in
a process that can be killed, for what our parser does not read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Literal, get_args

from cepo.answers import pool
from cepo.answers.dressing import undress, without_marks
from cepo.answers.extract import AnswerFormat, extract_answer
from cepo.answers.rules import Found, found_by_rules
from cepo.answers.wording import standard_words

__all__ = [
    "BATCH_BUDGET_S",
    "MAX_ANSWER_CHARS",
    "Grader",
    "Verdict",
    "grade",
    "grade_many",
    "judge",
    "same_answer",
    "why_not_gradable",
]

MAX_ANSWER_CHARS = 500
"""An answer of more characters is wrong, and a gold answer of more is not gradable."""
TIMEOUT_S = 3.0
"""Seconds that math-verify may take over one question, each of the two times that it is asked."""
BATCH_BUDGET_S = 30.0
"""Seconds that all open questions of one `grade_many` may take together."""

Grader = Literal["cepo", "math_verify"]
"""`cepo`: the rules of docs/grader.md. `math_verify`: TRL's accuracy reward, for comparison."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and how that was found.

    Attributes:
        same: True or False; None where `math_verify` cannot parse the gold answer.
        rule: the rule that decided, one word (docs/grader.md lists them); "late" where none did in time.
        seconds: wall-clock time.
    """

    same: bool | None
    rule: str
    seconds: float = 0.0

    @property
    def is_late(self) -> bool:
        """Whether time ran out: `same` is False, and says nothing of the answer."""
        return self.rule == "late"

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of the answer: it is late, or `math_verify` cannot read the gold answer."""
        return self.is_late or self.same is None


def grade(
    completion: str,
    gold: str,
    *,
    answer_format: AnswerFormat = "boxed",
    grader: Grader = "cepo",
    thinking_counts: bool = False,
) -> bool:
    """Whether a completion's answer is the gold answer; False where it gives none.

    `math_verify` finds the answer by itself, so that `answer_format` and `thinking_counts` say nothing to it;
    where it cannot parse the gold answer, this is False, and `grade_many` says None.
    """
    if grader == "math_verify":
        return bool(judge(completion, gold, grader=grader).same)
    return same_answer(extract_answer(completion, answer_format, thinking_counts=thinking_counts), gold)


def same_answer(candidate: str | None, gold: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `candidate` answers as `gold` does, by the rules of docs/grader.md.

    No text makes it raise. False for None, for an empty answer, for more than `MAX_ANSWER_CHARS`, and where
    math-verify is needed and late twice (`timeout_s` each time); only the last is not remembered. Safe in any
    thread and after a fork.

    Raises:
        GraderUnavailable: math-verify is needed and its process cannot start, which is a broken installation
            and must not look like a run of wrong answers.
    """
    return bool(judge(candidate, gold, timeout_s=timeout_s).same)


def judge(
    candidate: str | None,
    gold: str,
    *,
    grader: Grader = "cepo",
    timeout_s: float = TIMEOUT_S,
    until: float | None = None,
) -> Verdict:
    """The verdict on one answer; for `math_verify`, on a whole completion. `until` bounds all, see `Pool.ask`.

    Raises:
        ValueError: no such grader.
        GraderUnavailable: as under `same_answer`.
    """
    if grader not in get_args(Grader):
        raise ValueError(f"unknown grader {grader!r}: choose from {', '.join(get_args(Grader))}")
    start = time.perf_counter()
    found = _at_once(candidate, gold) if grader == "cepo" else None
    if found is None:
        found = _by_worker(grader, candidate or "", gold, timeout_s, until)
    return Verdict(*found, time.perf_counter() - start)


def grade_many(
    completions: Sequence[str],
    golds: Sequence[str],
    *,
    answer_format: AnswerFormat = "boxed",
    grader: Grader = "cepo",
    thinking_counts: bool = False,
    budget_s: float = BATCH_BUDGET_S,
) -> list[Verdict]:
    """The verdicts on a batch of completions, in order.

    What needs no worker is decided first; the open questions, each asked once, go to all workers at once and
    may take `budget_s` seconds together, beyond the time that workers take to start. What is open then counts
    as wrong for now: `grader_timeouts` counts it, and nothing remembers it.

    Raises:
        ValueError: as many golds as completions are needed; no such format or grader.
        GraderUnavailable: as under `same_answer`.
    """
    answers: list[str | None] = list(completions)
    if grader == "cepo":
        answers = [extract_answer(text, answer_format, thinking_counts=thinking_counts) for text in completions]
    return judge_many(answers, golds, grader=grader, budget_s=budget_s)


def judge_many(
    answers: Sequence[str | None], golds: Sequence[str], *, grader: Grader = "cepo", budget_s: float = BATCH_BUDGET_S
) -> list[Verdict]:
    """`grade_many` for answers that are extracted already."""
    pairs = list(zip(answers, golds, strict=True))
    verdicts: dict[tuple[str | None, str], Verdict] = {}
    open_pairs = []
    for pair in dict.fromkeys(pairs):
        start = time.perf_counter()
        found = _at_once(*pair) if grader == "cepo" else None
        if found is None:
            open_pairs.append(pair)
        else:
            verdicts[pair] = Verdict(*found, time.perf_counter() - start)
    if open_pairs:
        until = time.monotonic() + budget_s
        with ThreadPoolExecutor(pool.POOL.size) as threads:
            asked = [threads.submit(judge, *pair, grader=grader, until=until) for pair in open_pairs]
            verdicts |= {pair: future.result() for pair, future in zip(open_pairs, asked, strict=True)}
    return [verdicts[pair] for pair in pairs]


def _at_once(candidate: str | None, gold: str) -> Found | None:
    """The verdict that needs no worker; None where math-verify has to be asked."""
    if candidate is None:
        return False, "none"
    if len(candidate) > MAX_ANSWER_CHARS or len(gold) > MAX_ANSWER_CHARS:
        return False, "long"
    return found_by_rules(candidate.strip(), gold.strip())


_remembered: dict[tuple[str, str, str], bool | None] = {}
_OPEN = object()


def _by_worker(grader: Grader, candidate: str, gold: str, timeout_s: float, until: float | None) -> Found:
    """math-verify's verdict, remembered unless it did not come."""
    question = (undress(candidate), undress(gold)) if grader == "cepo" else (candidate, gold)
    known = _remembered.get((grader, *question), _OPEN)
    if isinstance(known, bool | None):
        return known, "algebra"
    try:
        same = pool.ask("same_expression" if grader == "cepo" else "trl_accuracy", *question, timeout_s, until)
    except pool.Late:
        return False, "late"
    if len(_remembered) >= 2**14:
        _remembered.clear()
    _remembered[grader, *question] = same
    return same, "algebra"


def why_not_gradable(answer: object) -> str | None:
    """One clause that says why `answer` cannot be a gold answer; None where it can.

    A number is graded as its `str`. A truth value is refused: "True" or "yes" has to be chosen by the data.
    """
    if answer is None:
        return "it is missing (None)"
    if isinstance(answer, bool) or not isinstance(answer, str | Real):
        return f"it is of type {type(answer).__name__}, neither a string nor a number"
    if isinstance(answer, Real) and not isfinite(answer):
        return f"it is {answer}, not a finite number"
    return _why_text_not_gradable(str(answer).strip())


def _why_text_not_gradable(text: str) -> str | None:
    if not text:
        return "it is empty"
    if len(text) > MAX_ANSWER_CHARS:
        return f"it has {len(text)} characters, and more than {MAX_ANSWER_CHARS} are not graded"
    if not any(character.isalnum() for character in without_marks(undress(text))) and not _is_empty_set(text):
        return f"it holds no letter and no digit ({text!r})"
    if extract_answer(rf"\boxed{{{text}}}") != text:
        return rf"it cannot stand in \boxed{{}}: its braces do not balance, or it holds a box ({text!r})"
    if not same_answer(text, text):
        return f"the grader does not accept it against itself ({text!r})"
    return None


def _is_empty_set(text: str) -> bool:
    return standard_words(without_marks(undress(text))) == "\\emptyset"
