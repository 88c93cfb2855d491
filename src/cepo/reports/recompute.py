"""A record's credit under any of the methods, from its log-probs: `cepo.credit.evidence` in plain Python.

Reports open without torch; a test holds these numbers equal to the tensors'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cepo.reports.traces import CreditRecord

__all__ = ["METHODS", "TokenCredit", "recompute", "shown_methods"]

METHODS = ("cepo", "rlsd", "grpo")


@dataclass(frozen=True, slots=True)
class TokenCredit:
    """Evidence (nats), weight and advantage of each token of one rollout."""

    evidence: list[float]
    weight: list[float]
    advantage: list[float]


def recompute(record: CreditRecord, method: str) -> TokenCredit | None:
    """The credit that `method` gives the rollout at the record's lambda and eps_w; None: it was not scored for that.

    Without r- CEPO falls back on P- := P_S, as the trainer's default does. A rule of the user's own is known by its
    numbers alone: they are the record's.

    Raises:
        ValueError: an unknown method.
    """
    if method not in METHODS and method == record.method:
        return _recorded(record)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    evidence = [0.0] * len(record.tokens)
    if method != "grpo":
        other = record.logp_student if method == "rlsd" or record.logp_minus is None else record.logp_minus
        if record.logp_plus is None or other is None:
            return None
        evidence = [a - b for a, b in zip(record.logp_plus, other, strict=True)]
    sign = (record.base_advantage > 0) - (record.base_advantage < 0)
    low, high = math.log1p(-record.clip), math.log1p(record.clip)
    weight = [math.exp(min(max(sign * delta, low), high)) for delta in evidence]
    strength = record.strength
    advantage = [record.base_advantage * ((1 - strength) + strength * w) for w in weight]
    return TokenCredit(evidence, weight, advantage)


def shown_methods(record: CreditRecord) -> tuple[str, ...]:
    """What the rollout can be shown under: first the run's own rule, where it is none of METHODS and gave credit."""
    own = record.method not in METHODS and record.evidence is not None
    return (record.method, *METHODS) if own else METHODS


def _recorded(record: CreditRecord) -> TokenCredit | None:
    if record.evidence is None or record.weight is None or not isinstance(record.advantage, list):
        return None
    return TokenCredit(record.evidence, record.weight, record.advantage)
