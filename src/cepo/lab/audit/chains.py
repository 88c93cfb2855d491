"""Chains for the audit: labels of any rollout from the solver, and wrong solutions from the policy that goes wrong."""

from __future__ import annotations

from random import Random

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import Chain
from cepo.chain.solver import label_text
from cepo.chain.wording import solution
from cepo.glossary import Span
from cepo.lab.audit.labels import Labels

__all__ = ["label_chain", "wrong_solutions"]


def label_chain(chain: Chain, text: str) -> Labels | None:
    """Labels of a text: the values and the box decide; None where there is no value."""
    labelled = label_text(chain, text)
    spans = tuple(Span(span.start, span.end, decisive=span.label != "filler") for span in labelled)
    if not any(span.decisive for span in spans):
        return None
    return Labels(spans, next((span.start for span in labelled if span.label == "first_wrong"), None))


def wrong_solutions(chain: Chain, fillers: int, count: int, rng: Random) -> list[str]:
    """Solutions of the policy with misconceptions that reach a wrong answer."""
    policy, found = Misconceptions(), []
    while len(found) < count:
        values = policy.work(chain, rng)
        if values[-1] != chain.answer:
            found.append(solution(values, fillers, rng))
    return found
