"""Problems of dependent steps for the audit: labels of any rollout, and wrong solutions."""

from __future__ import annotations

from random import Random

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import Chain
from cepo.chain.solver import Stepped, label_text
from cepo.chain.wording import solution
from cepo.figures.policy import Confusions
from cepo.figures.problems import Figure
from cepo.figures.wording import solution as figure_solution
from cepo.glossary import Span
from cepo.lab.audit.labels import Labels

__all__ = ["label_steps", "wrong_figure_solutions", "wrong_solutions"]


def label_steps(problem: Stepped, text: str) -> Labels | None:
    """Labels of a text: what a step stands at and the box decide; None where there is neither."""
    labelled = label_text(problem, text)
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


def wrong_figure_solutions(figure: Figure, count: int, rng: Random) -> list[str]:
    """Solutions that confuse relations, whichever they are, and reach a wrong answer."""
    policy, found = Confusions(share=1.0, wrong=0.5), []
    while len(found) < count:
        work = policy.work(figure, rng)
        if work.values[-1] != figure.answer:
            found.append(figure_solution(figure, work, rng))
    return found
