"""Rewards for problems of dependent steps that also say what each token was worth: what perfect credit would gain.

Both need the column `chain` (`data: chain` and `data: figures` have it). Their totals are `accuracy_reward`'s.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cepo.answers import BOXED, Grading
from cepo.chain.problems import Chain
from cepo.chain.solver import LabelSpan, Stepped, label_text
from cepo.data.messages import completion_text
from cepo.data.scores import Span, TokenReward
from cepo.errors import DataError
from cepo.figures.problems import Figure
from cepo.glossary import Completion

__all__ = ["chain_oracle", "chain_values"]


def chain_oracle(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    **columns: Any,
) -> list[TokenReward]:
    """Scores of 1 where credit belongs, 0 elsewhere: the right steps of a right completion, the first error of a wrong.

    With `method: scores` and `rule_options: {form: weight, scale: s}` at strength lambda, tokens with a score weigh
    1 - lambda + lambda s and the others 1 - lambda: 1.5 and 0.5 at lambda 0.5 and scale 2.
    """
    rewards = []
    for problem, text, reward in _graded(completions, **columns):
        wanted = "decisive" if reward else "first_wrong"
        spans = [(s.start, s.end, 1.0) for s in label_text(problem, text) if s.label == wanted]
        rewards.append(TokenReward(reward, spans=spans))
    return rewards


def chain_values(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    **columns: Any,
) -> list[TokenReward]:
    """Scores are values, for `method: values`: the expected reward once the token is written.

    After i of K right steps p^((K-i)/K), with p the pass rate of the problem's completions in this call, at least half
    of one completion's share: every step is taken to be as hard as any other. After an error 0. From the box on, the
    reward itself. Reward units.
    """
    rows = _graded(completions, **columns)
    of_problem: dict[Stepped, list[float]] = defaultdict(list)
    for problem, _, reward in rows:
        of_problem[problem].append(reward)
    made = []
    for problem, text, reward in rows:
        group = of_problem[problem]
        p = max(sum(group) / len(group), 0.5 / len(group))
        made.append(TokenReward(reward, spans=_value_spans(problem, text, p, reward)))
    return made


def _graded(
    completions: Sequence[Completion],
    answer: Sequence[object],
    chain: Sequence[str] | None = None,
    run_grading: Grading = BOXED,
    **_: object,
) -> list[tuple[Stepped, str, float]]:
    """Each completion's problem, text and reward: 1.0 where it is right as the run grades, else 0.0.

    Raises:
        DataError: the data have no column `chain`.
    """
    if chain is None:
        raise DataError(
            "the data have no column `chain`, which says which steps are right: use `data: chain` or `data: figures`"
        )
    texts = [completion_text(completion) for completion in completions]
    verdicts = run_grading.verdicts(texts, [str(gold) for gold in answer])
    rewards = [float(verdict.same is True) for verdict in verdicts]
    return list(zip(map(_problem_of, chain), texts, rewards, strict=True))


def _problem_of(key: str) -> Stepped:
    return Figure.parse(key) if ">" in key else Chain.parse(key)


def _value_spans(problem: Stepped, text: str, p: float, reward: float) -> list[Span]:
    value, spans = p, []
    for span in label_text(problem, text):
        value = _value_after(span, problem.length, p, value, reward)
        spans.append((span.start, span.end, value))
    return [*spans, (len(text), sys.maxsize, reward)]  # the end token stands behind the text


def _value_after(span: LabelSpan, steps: int, p: float, value: float, reward: float) -> float:
    if span.label == "decisive" and span.step is not None:
        return p ** ((steps - 1 - span.step) / steps)
    if span.is_box:
        return reward
    return 0.0 if span.label == "first_wrong" else value
