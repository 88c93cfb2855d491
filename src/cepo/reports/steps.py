"""The first wrong step of a recorded rollout, where its problem is one that a solver labels."""

from __future__ import annotations

from cepo.chain import CHAIN, Chain, label_tokens
from cepo.chain.solver import Stepped
from cepo.figures.problems import FIGURES, Figure
from cepo.reports.records import CreditRecord

__all__ = ["first_wrong"]


def first_wrong(record: CreditRecord) -> int | None:
    """The token at which a rollout first goes wrong; None: it does not, or nobody knows its problem's steps."""
    problem = _problem(record.problem_id)
    if problem is None:
        return None
    offsets, at = [], 0
    for token in record.tokens:
        offsets.append((at, at + len(token)))
        at += len(token)
    labels = label_tokens(problem, "".join(record.tokens), offsets)
    return labels.index("first_wrong") if "first_wrong" in labels else None


def _problem(name: str) -> Stepped | None:
    """Of ids as `chain/7+3-5#0`. An id of somebody else's data may begin so too, and is then no key."""
    family, _, rest = name.partition("/")
    parse = {CHAIN: Chain.parse, FIGURES: Figure.parse}.get(family)
    try:
        return None if parse is None else parse(rest.partition("#")[0])
    except ValueError:
        return None
