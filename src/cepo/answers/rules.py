r"""The rules that need no other process, in the order in which they are tried; docs/grader.md states them."""

from __future__ import annotations

import re
from functools import lru_cache

from cepo.answers.compare import same_reading
from cepo.answers.dressing import key, undress, without_marks
from cepo.answers.figures import read_number
from cepo.answers.letters import has_letters, has_words
from cepo.answers.options import same_glued_options, same_option
from cepo.answers.reading import read_answer
from cepo.answers.tree import TooDeep, Unreadable
from cepo.answers.wording import are_words, counted_words, same_words, standard_words

__all__ = ["Found", "found_by_rules"]

Found = tuple[bool | None, str]
"""Whether an answer is right, and the rule that said so."""


@lru_cache(maxsize=2**14)
def found_by_rules(candidate: str, gold: str) -> Found | None:
    ours, theirs = read_number(candidate), read_number(gold)
    if ours and theirs:
        return ours.answers(theirs), "number"
    candidate, gold = undress(candidate), undress(gold)
    if not candidate or not gold:
        return False, "none"
    plain, plain_gold = without_marks(candidate), without_marks(gold)
    if key(candidate) == key(gold):
        return True, "text"
    if (same := same_option(plain, plain_gold)) is not None:
        return same, "option"
    if same_glued_options(plain, plain_gold):
        return True, "option"
    standard, standard_gold = standard_words(plain), standard_words(plain_gold)
    candidate = candidate if standard == plain else standard
    gold = gold if standard_gold == plain_gold else standard_gold
    if are_words(standard_gold):
        return same_words(standard, standard_gold), "words"
    if standard == plain and (counted := counted_words(plain)) is not None:
        candidate = counted
    return _by_reading(candidate, gold)


def _by_reading(candidate: str, gold: str) -> Found | None:
    if _is_time(gold) or _is_time(candidate):
        return _same_time(candidate, gold), "time"
    try:
        theirs = read_answer(
            gold,
            letters_are_units=has_words(candidate) and not has_letters(candidate),
            thousands=not _is_spaced_list(candidate),
        )
        ours = read_answer(candidate, letters_are_units=not has_letters(gold), thousands=not _is_spaced_list(gold))
    except (TooDeep, RecursionError):
        return False, "size"
    except Unreadable:
        if (value := _computed(candidate)) is not None:
            return _by_reading(value, gold)
        return None if _might_be_same(candidate, gold) else (False, "form")
    try:
        return same_reading(ours, theirs), "value"
    except RecursionError:
        return False, "size"


_QUANTITY = re.compile(r"\\(?:det|lim|sum|prod|i*int|cup|cap|dim|max|min|sup|inf|Pr|#)(?![A-Za-z])")


def _computed(candidate: str) -> str | None:
    """The value in "\\det A = 18", whose left side is a quantity that our parser cannot read."""
    name, equals, value = candidate.rpartition("=")
    if not equals or not _is_balanced(name) or not _QUANTITY.search(name) or _QUANTITY.search(value):
        return None
    return value.strip()


def _is_spaced_list(text: str) -> bool:
    """Whether commas with spaces part numbers: "100, 200" is a list, and so is "100,200" against it."""
    return re.search(r"[0-9],\s+[0-9]", text) is not None


_TIME = re.compile(r"(?P<time>[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?)\s*(?P<half>[ap]\.?\s*m\.?)?", re.IGNORECASE)


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(without_marks(text)) is not None


def _same_time(candidate: str, gold: str) -> bool:
    """Times of day: 12:30 is no ratio, and is not 6:15. A time that gold gives in single digits is one: 3:4."""
    ours, theirs = _TIME.fullmatch(without_marks(candidate)), _TIME.fullmatch(without_marks(gold))
    if ours is None or theirs is None:
        return theirs is None and _same_ratio(candidate, gold)
    halves = [re.sub(r"[^apm]", "", (one["half"] or "").lower()) for one in (ours, theirs)]
    return ours["time"].lstrip("0") == theirs["time"].lstrip("0") and (halves[0] == halves[1] or "" in halves)


def _same_ratio(candidate: str, gold: str) -> bool:
    try:
        return same_reading(read_answer(candidate), read_answer(gold))
    except (TooDeep, Unreadable):
        return False


def _might_be_same(candidate: str, gold: str) -> bool:
    """Whether it is worth asking math-verify: both are mathematics, with the same letters, indices and relations.

    It folds the case of letters and drops indices, and would accept what these tell apart; and it takes seconds
    over large powers and factorials.
    """
    for text in (candidate, gold):
        if len(text) < 2 or "\\text{" in text or not text.isascii() or _TOO_HARD.search(text) or not _is_balanced(text):
            return False
    if not any(map(_BEYOND_US.search, (candidate, gold))):
        return False
    return _inventory(candidate) == _inventory(gold)


_TOO_HARD = re.compile(r"[0-9]{4,}\s*\)*!|![)}]*!|\^\s*\{?\s*-?[0-9]{4,}|\^\s*\{[^{}]*\^\s*\{[^{}]*\^|\^\s*\w\s*\^")
_BEYOND_US = re.compile(
    r"\\(?:sum|prod|i*int|oint|lim|begin|[pb]?mod|equiv|det|vec|mathbf|overset|underset|to)(?![A-Za-z])"
)
"""What math-verify reads and our own parser does not."""


def _is_balanced(text: str) -> bool:
    """Whether every bracket is closed, and few are open at once: math-verify takes seconds over the rest."""
    depth = deepest = 0
    for bracket in re.findall(r"[({\[\])}]", text):
        depth += 1 if bracket in "({[" else -1
        deepest = max(deepest, depth)
        if depth < 0:
            return False
    return depth == 0 and deepest <= _MAX_OPEN_BRACKETS


_MAX_OPEN_BRACKETS = 12


def _inventory(text: str) -> tuple[object, ...]:
    names = re.findall(r"\\[A-Za-z]+|[A-Za-z]", text)
    letters = {name for name in names if len(name) == 1}
    indices = sorted(re.findall(r"_\s*(?:\{[^{}]*\}|.)", text))
    return letters, indices, [text.count(sign) for sign in ("=", "<", ">", "\\le", "\\ge")]
