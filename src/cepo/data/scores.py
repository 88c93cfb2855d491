"""Scores of single tokens from outside: a process reward model, an oracle, a rule of thumb.

A reward function that returns `TokenReward` in place of a number says how good each token was beside the total; a
credit rule that reads `scores` makes credit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from cepo.errors import RewardError

__all__ = ["TokenReward", "TokenScores", "scores_of"]

Span = tuple[int, int, float]
"""Characters [start, end) of the completion's text, and their score."""


class TokenReward(float):
    """A reward that also scores tokens; a number to everything that wants one.

    Args:
        reward: of the whole completion.
        tokens: one score for each completion token (`completion_ids`), in any unit.
        spans: instead of `tokens`: scores of characters [start, end) of the completion's text. A token takes the score
            of the last span that it overlaps, and 0 without one.

    Raises:
        ValueError: both or neither of `tokens` and `spans`.
    """

    tokens: tuple[float, ...] | None
    spans: tuple[Span, ...] | None

    def __new__(
        cls, reward: float, *, tokens: Sequence[float] | None = None, spans: Sequence[Span] | None = None
    ) -> TokenReward:
        if (tokens is None) == (spans is None):
            raise ValueError("a TokenReward takes either `tokens` or `spans`")
        made = super().__new__(cls, reward)
        made.tokens = None if tokens is None else tuple(float(score) for score in tokens)
        made.spans = None if spans is None else tuple((int(a), int(b), float(score)) for a, b, score in spans)
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, object]]:
        """For pickle: reward functions may run in processes of their own."""
        return (float(self),), {"tokens": self.tokens, "spans": self.spans}


class TokenScores:
    """Collects what reward functions return between two calls of `take`."""

    def __init__(self) -> None:
        self._kept: dict[int, list[tuple[str, TokenReward]]] = {}

    def add(self, name: str, rewards: Sequence[float | None]) -> None:
        """What the reward function `name` returned for this process's completions, in their order."""
        for row, reward in enumerate(rewards):
            if isinstance(reward, TokenReward):
                self._kept.setdefault(row, []).append((name, reward))

    def take(self) -> Mapping[int, Sequence[tuple[str, TokenReward]]]:
        """Row -> (function, reward) of the functions that scored its tokens; nothing is kept."""
        kept, self._kept = self._kept, {}
        return kept


def scores_of(
    rewards: Sequence[tuple[str, TokenReward]], token_ids: Sequence[int], decode: Callable[[list[int]], str]
) -> list[float]:
    """One score for each token: the sum over the functions that scored them.

    Raises:
        RewardError: a function that scored another number of tokens than there are.
    """
    total = [0.0] * len(token_ids)
    for name, reward in rewards:
        scores = reward.tokens
        if scores is None:
            scores = _from_spans(reward.spans or (), token_ids, decode)
        if len(scores) != len(token_ids):
            raise RewardError(f"reward {name!r} scored {len(scores)} tokens of a completion that has {len(token_ids)}")
        total = [a + b for a, b in zip(total, scores, strict=True)]
    return total


def _from_spans(
    spans: Sequence[Span], token_ids: Sequence[int], decode: Callable[[list[int]], str]
) -> tuple[float, ...]:
    """A token stands where the text grows by it; one that is half a character stands where that character does."""
    pieces = [decode([token]) for token in token_ids]
    ends = list(accumulate(map(len, pieces)))
    whole = decode(list(token_ids))
    if "".join(pieces) != whole:  # some characters are made of several tokens
        ends = [_settled(decode(list(token_ids[: count + 1])), whole) for count in range(len(token_ids))]
    scores, start = [], 0
    for end in ends:
        over = [score for first, last, score in spans if first < max(end, start + 1) and last > start]
        scores.append(over[-1] if over else 0.0)
        start = end
    return tuple(scores)


def _settled(begun: str, whole: str) -> int:
    """Characters of the whole text that its beginning has; a character of which a part is missing is another one."""
    return next((at for at, (a, b) in enumerate(zip(begun, whole, strict=False)) if a != b), len(begun))
