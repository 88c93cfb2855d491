"""A record's credit under any of the methods, from its log-probs: `cepo.ops.credit` in plain Python.

Reports open without torch; a test holds these numbers equal to the tensors'. `assets/credit.js` is the same in
the page, held equal to this file in a browser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cepo.traces import CreditRecord

__all__ = ["METHODS", "TokenCredit", "recompute", "why_unscored"]

METHODS = ("cepo", "rlsd", "grpo")


@dataclass(frozen=True, slots=True)
class TokenCredit:
    """Evidence (nats), weight and advantage of each token of one rollout."""

    evidence: list[float]
    weight: list[float]
    advantage: list[float]


def recompute(record: CreditRecord, method: str, dead_zone: float = 0.0) -> TokenCredit | None:
    """The credit that `method` gives the rollout at the record's lambda and eps_w; None: it was not scored for that.

    Delta_t = log P+ - log P- (cepo), log P+ - log P_S (rlsd), 0 (grpo), less `dead_zone` nats. Where the group
    had no wrong answer and the run fell back on RLSD, P- := P_S. Equal infinities give 0, as in `cepo.ops.credit`.

    Raises:
        ValueError: an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    evidence: list[float] | None = [0.0] * len(record.tokens)
    if method != "grpo":
        evidence = _difference(record.logp_plus, _reference(record, method), dead_zone)
    if evidence is None:
        return None
    A, strength = record.base_advantage, record.strength
    sign = (A > 0) - (A < 0)
    low, high = math.log1p(-record.clip), math.log1p(record.clip)
    weight = [math.exp(min(max(sign * delta, low), high)) if sign else 1.0 for delta in evidence]
    return TokenCredit(evidence, weight, [A * ((1 - strength) + strength * w) for w in weight])


def why_unscored(record: CreditRecord, method: str) -> str:
    """Why `recompute` has nothing for this rollout, in a reader's words."""
    if record.logp_plus is not None:
        return f"this run ({record.method}) did not score the prompt that {method.upper()} compares with"
    if record.base_advantage == 0:
        return "the advantage is 0: every rollout of the group got the same reward"
    if record.strength == 0:
        return "\N{GREEK SMALL LETTER LAMDA} is 0 at this step: the run is GRPO here and scores no teachers"
    if record.minus_source == "grpo":
        return "the group has no wrong answer to compare with, and the run falls back on GRPO"
    return f"this run ({record.method}) scored no teacher prompts for it"


def _reference(record: CreditRecord, method: str) -> list[float] | None:
    fell_back = record.logp_minus is None and record.minus_source == "rlsd"
    return record.logp_student if method == "rlsd" or fell_back else record.logp_minus


def _difference(plus: list[float] | None, other: list[float] | None, dead_zone: float) -> list[float] | None:
    if plus is None or other is None:
        return None
    # Equal values include equal infinities, whose difference is NaN.
    evidence = [0.0 if a == b else a - b for a, b in zip(plus, other, strict=True)]
    if dead_zone == 0.0:
        return evidence
    return [math.copysign(max(abs(delta) - dead_zone, 0.0), delta) if delta == delta else delta for delta in evidence]
