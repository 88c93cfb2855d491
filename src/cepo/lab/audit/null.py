"""Null truth: two references that have nothing to do with the problem must give no evidence.

What they give is the floor below which evidence means nothing. Irrelevant are the answers (or solutions) of
other problems that no rollout of this one gave, and plain words. A pair is of equal length in tokens or not: the
longer reference moves all that follows by a position. RLSD's null is one irrelevant reference against none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

import numpy as np

from cepo.answers import same_answer
from cepo.credit.rules import get_method
from cepo.lab.audit.evidence import Key, ScoreBook
from cepo.lab.audit.ledger import Ledger
from cepo.lab.audit.metrics import Bools, Floats, concatenated, quantile
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Asking

__all__ = ["NULL_MEASURES", "NullPair", "null_floor", "null_pairs", "record_null"]

WORDS = ("unknown", "unclear", "blue", "yellow", "apple", "window", "a green field", "some other day")
NULL_MEASURES: dict[str, str] = {
    "median": "median |Delta| of a null contrast, nats",
    "p90": "90th percentile of |Delta| of a null contrast, nats",
    "median_filler": "median |Delta| of a null contrast on filler tokens, nats",
    "p90_filler": "90th percentile of |Delta| of a null contrast on filler tokens, nats",
}


@dataclass(frozen=True, slots=True)
class NullPair:
    """A target, what its teachers are told, and what kind of contrast it is. No `second`: against the student."""

    target: Target
    asking: Asking
    kind: str
    first: str
    second: str | None

    def asked(self) -> list[Key]:
        if self.second is None:
            return [Key(self.target, self.asking, self.first), Key(self.target, ASKING[0], None)]
        return [Key(self.target, self.asking, self.first), Key(self.target, self.asking, self.second)]


def null_pairs(
    targets: Sequence[Target],
    problems: Sequence[AuditProblem],
    given: Sequence[Sequence[str]],
    askings: Sequence[Asking],
    length: Callable[[str], int],
    seed: int,
) -> list[NullPair]:
    """For each target and way of asking one pair of each kind that the data allows, and RLSD's null.

    Args:
        given: for each problem the answers that its rollouts gave.
        length: of a reference, in tokens.
    """
    found = []
    for place, target in enumerate(targets):
        rng = Random(f"null/{seed}/{place}")
        problem = problems[target.problem]
        pools = {
            "answer": [other.gold for other in problems if other is not problem],
            "rationale": [other.solution for other in problems if other is not problem and other.solution],
        }
        relevant = [problem.gold, *given[target.problem]]
        others = {form: _irrelevant(pool, relevant if form == "answer" else [], rng) for form, pool in pools.items()}
        for asking in askings:
            kinds = {"others": others[asking.form]} | ({"words": list(WORDS)} if asking.form == "answer" else {})
            for name, pool in kinds.items():
                found += _pairs(target, asking, name, pool, length, rng)
    return found


def _irrelevant(pool: Sequence[str], relevant: Sequence[str], rng: Random) -> list[str]:
    """Up to 12 different references of the pool, none of them an answer that was given."""
    different = sorted(set(pool))
    kept = []
    for candidate in rng.sample(different, len(different)):
        if not any(same_answer(answer, candidate) for answer in relevant):
            kept.append(candidate)
        if len(kept) == 12:
            break
    return kept


def _pairs(
    target: Target, asking: Asking, name: str, pool: Sequence[str], length: Callable[[str], int], rng: Random
) -> list[NullPair]:
    """A pair of equal length, one of unequal length, and one reference alone, as far as the pool has them."""
    shuffled = rng.sample(pool, len(pool))
    couples = list(combinations(shuffled, 2))
    equal = next((couple for couple in couples if length(couple[0]) == length(couple[1])), None)
    unequal = next((couple for couple in couples if length(couple[0]) != length(couple[1])), None)
    named = [(f"{name}, equal length", equal), (f"{name}, unequal length", unequal)]
    found = [NullPair(target, asking, kind, *couple) for kind, couple in named if couple is not None]
    return [*found, *(NullPair(target, asking, f"{name}, against none", first, None) for first in shuffled[:1])]


def null_floor(pairs: Sequence[NullPair], book: ScoreBook, asking: Asking, method: str) -> tuple[float, float]:
    """(median, 90th percentile) of |Delta| between answers of other problems, nats: what a dead zone takes off.

    Both lengths together, as training draws them; for a rule with one reference: it against none. NaN without a pair.
    """
    rule = get_method(method)
    against_none = len(rule.references) == 1
    wanted = [
        pair
        for pair in pairs
        if pair.asking == asking and pair.kind.startswith("others") and (pair.second is None) == against_none
    ]
    size_N = concatenated([_size(pair, book) for pair in wanted])
    if not len(size_N):
        return float("nan"), float("nan")
    return float(np.quantile(size_N, 0.5)), float(np.quantile(size_N, 0.9))


def record_null(pairs: Sequence[NullPair], book: ScoreBook, ledger: Ledger) -> None:
    """The floor of every way of asking and kind of contrast, on all tokens and on filler where labels are known."""
    groups: dict[tuple[str, str], list[NullPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.asking.name, pair.kind), []).append(pair)
    for members in groups.values():
        everywhere = [np.ones(len(pair.target.ids), dtype=np.bool_) for pair in members]
        _record(members, everywhere, "", book, ledger)
        labelled = [(pair, pair.target.labels) for pair in members if pair.target.labels is not None]
        _record([pair for pair, _ in labelled], [~labels.decisive_T for _, labels in labelled], "_filler", book, ledger)


def _record(pairs: Sequence[NullPair], keep: Sequence[Bools], suffix: str, book: ScoreBook, ledger: Ledger) -> None:
    """The floor of pairs of one way of asking and kind, on the tokens to `keep`."""
    size_N = concatenated([_size(pair, book)[at] for pair, at in zip(pairs, keep, strict=True)])
    problem_N = np.repeat([pair.target.problem for pair in pairs], [int(at.sum()) for at in keep]).astype(np.int64)
    if len(size_N):
        shares = {f"median{suffix}": 0.5, f"p90{suffix}": 0.9}
        measured = {name: quantile(size_N, share, problem_N, ledger.weight_RP) for name, share in shares.items()}
        ledger.add("null", pairs[0].asking.name, pairs[0].kind, measured, problem_N)


def _size(pair: NullPair, book: ScoreBook) -> Floats:
    first, second = (book[key].astype(np.float64) for key in pair.asked())
    return np.abs(first - second)
