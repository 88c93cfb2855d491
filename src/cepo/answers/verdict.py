r"""The one grader: what a completion answers, and whether that is right. Nothing else decides "correct".

The answer of a completion is the content of its LAST well-formed `\boxed{...}`; a completion with several
results is graded on the last. Two answers are the same by the first of these rules that applies:

text      equal once LaTeX dressing is off ($, \left, \text, \dfrac, spaces, a final full stop)
choice    a gold answer of one capital letter, or "(b)", is an option: "B", "(b)", "B. 30" name option B
words     a gold answer of letters only, or a geometric name such as \angle ABC, is no algebra: it is equal or
          not as text, case ignored
units     two different units differ, with no conversion; a unit missing on one side is accepted, as is
          "units" for any unit of the same power; degrees and percent are units (50% is 50, not 0.5)
labels    "x = 5" is 5, "x = 5" is not "y = 5"; a label missing on one side is accepted; of x = 3 + 2 = 5 the
          last counts; any other equation is equal to equations only
numbers   integers, decimals, fractions and mixed numbers are compared as exact rationals; 1,234 is one number
algebra   all else goes to math-verify, in a process that is killed when it is late: roots, expressions,
          equations, sets (any order), tuples (in order), intervals (ends count)

Exactness follows the gold answer. 3\pi wants 3\pi and refuses 9.42; 1/3 refuses 0.333333. A gold decimal of
at least three significant digits may itself be rounded and accepts what rounds to it: 9.42 accepts 3\pi and
9.4248. A shorter one, 0.5, is exact. So `same_answer` is not symmetric in general.

Left out on purpose: unit conversion, decimal commas, lists of accepted answers, `\fbox`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from numbers import Real

from cepo.answers.algebra import GraderUnavailable, same_expression
from cepo.answers.notation import compatible_units, key, number, split_unit, undress, without_labels

__all__ = [
    "MAX_ANSWER_CHARS",
    "GraderUnavailable",
    "boxed_spans",
    "extract_answer",
    "grade",
    "same_answer",
    "why_not_gradable",
]

MAX_ANSWER_CHARS = 500
"""An answer of more characters is wrong, and a gold answer of more is not gradable."""
_MAX_TEXT_CHARS = 1_000_000
_TIMEOUT_S = 5.0

_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def boxed_spans(text: str) -> list[tuple[int, int]]:
    r"""Where the contents [start, end) of every well-formed `\boxed{...}` stand, in characters, by start.

    Braces are matched; `\{` and `\}` are no braces, and a box that is never closed is no box. Linear in the
    text, of which the last million characters are read.
    """
    spans: list[tuple[int, int]] = []
    open_boxes: list[int | None] = []  # one entry per open brace: where a box's content starts, or None
    for token in _BRACE.finditer(text, max(0, len(text) - _MAX_TEXT_CHARS)):
        mark = token.group()
        if mark == "}":
            start = open_boxes.pop() if open_boxes else None
            if start is not None:
                spans.append((start, token.start()))
        elif mark == "{":
            open_boxes.append(None)
        elif mark.endswith("{") and mark.startswith(r"\boxed"):
            open_boxes.append(token.end())
    return sorted(spans)


def extract_answer(text: str) -> str | None:
    r"""The content of the last well-formed `\boxed{...}`, stripped; None where there is none or it is empty.

    Of nested boxes the innermost counts, for it starts last. The content may be longer than an answer can be
    (`MAX_ANSWER_CHARS`).
    """
    spans = boxed_spans(text)
    if not spans:
        return None
    start, end = spans[-1]
    return text[start:end].strip() or None


def grade(completion_text: str, gold: str) -> bool:
    """Whether the completion's last boxed answer is the gold answer; False where it boxes nothing."""
    return same_answer(extract_answer(completion_text), gold)


def same_answer(candidate: str | None, gold: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
    """Whether `candidate` answers as `gold` does, by the rules at the top of this module.

    No text makes it raise. False for None, for an empty answer, for more than `MAX_ANSWER_CHARS` and for
    algebra that takes longer than `timeout_s` seconds; verdicts are remembered. Safe in any thread and after
    a fork; where threads ask for algebra at once they wait for each other.

    Raises:
        GraderUnavailable: algebra is needed and math-verify's process cannot start, which is a broken
            installation and must not look like a run of wrong answers.
    """
    if candidate is None or len(candidate) > MAX_ANSWER_CHARS or len(gold) > MAX_ANSWER_CHARS:
        return False
    return _same_answer(candidate.strip(), gold.strip(), timeout_s)


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
    if not any(character.isalnum() for character in undress(text)):
        return f"it holds no letter and no digit ({text!r})"
    if extract_answer(rf"\boxed{{{text}}}") != text:
        return rf"it cannot stand in \boxed{{}}: its braces do not balance, or it holds a box ({text!r})"
    if not same_answer(text, text):
        return f"the grader does not accept it against itself ({text!r})"
    return None


@lru_cache(maxsize=2**14)
def _same_answer(candidate: str, gold: str, timeout_s: float) -> bool:
    ours, theirs = number(candidate), number(gold)
    if ours and theirs:
        return ours.agrees_with(theirs)
    candidate, gold = undress(candidate), undress(gold)
    if not candidate or not gold:
        return False
    if key(candidate) == key(gold):
        return True
    if option := _OPTION.fullmatch(gold):
        chosen = _CHOSEN.fullmatch(candidate)
        return chosen is not None and chosen["option"].upper() == option["option"].upper()
    if _WORDS.fullmatch(gold):
        return key(candidate).casefold() == key(gold).casefold()
    return _same_quantity(candidate, gold, timeout_s)


def _same_quantity(candidate: str, gold: str, timeout_s: float) -> bool:
    """The rules from units on, for undressed text."""
    (candidate, our_unit), (gold, their_unit) = split_unit(candidate), split_unit(gold)
    if not compatible_units(our_unit, their_unit):
        return False
    candidate, gold = without_labels(candidate, gold)
    if key(candidate) == key(gold):
        return True
    ours, theirs = number(candidate), number(gold)
    if ours and theirs:
        return ours.agrees_with(theirs)
    if (theirs and (candidate.isalpha() or "," in candidate)) or _differ_in_form(candidate, gold):
        return False
    return same_expression(
        # A number goes as an exact fraction: of floats math-verify compares only the first digits.
        # The degree sign inside a tuple is a unit there too, and one that it cannot read.
        str(ours.value) if ours else candidate.replace("°", ""),
        str(theirs.value) if theirs else gold.replace("°", ""),
        rounding=float(theirs.rounding) if theirs else 0.0,
        timeout_s=timeout_s,
    )


def _differ_in_form(candidate: str, gold: str) -> bool:
    """Whether two texts are unequal by their form alone, where math-verify is more generous."""
    if "=" in candidate and "=" not in gold:
        return True  # it would take x^2 = 9 for 9
    ours, theirs = _BRACKETS.fullmatch(candidate), _BRACKETS.fullmatch(gold)
    # It reads (1, 2) as an interval and finds it equal to {1, 2}.
    return bool(ours and theirs and ours.groups() != theirs.groups())


_OPTION = re.compile(r"(?P<open>\()?(?P<option>[A-Z]|(?(open)[a-z]|[a-z](?=\))))\)?")
_CHOSEN = re.compile(
    r"(?:(?i:option|choice|answer):?\s+)?\(?(?P<option>[A-Za-z])"
    # A text may follow the letter, a second option may not: "(A) or (B)" names neither.
    r"(?:(?:\)|[.:]\s)(?!\s*(?:[,/&]|or\b|and\b|\(?[A-Z]\)?(?:[).:,\s]|$))).*)?",
    re.DOTALL,
)
_WORDS = re.compile(
    r"[A-Za-z]{2,}|[A-Za-z]+'+|[A-Za-z]+(?: [A-Za-z]+)+"
    r"|[^=]*(?:\\(?:angle|triangle|parallel|perp|cong|sim)(?![A-Za-z])|\\over[a-z]+\s*\{?[A-Z])[^=]*"
)
_BRACKETS = re.compile(r"(\\\{|[(\[])[^()\[\]]*,[^()\[\]]*(\\\}|[)\]])")
