"""Feedback in words: what a reward function says of a rollout beside the number, for teachers to read (SDPO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["Feedback", "FeedbackReward"]


class FeedbackReward(float):
    """A reward that also says in words what was wrong; a number to everything that wants one.

    Args:
        reward: of the completion.
        feedback: a test's output, a compiler's error, a judge's remark; empty: nothing was said.

    Raises:
        TypeError: the feedback is no text.
    """

    feedback: str

    def __new__(cls, reward: float, feedback: str) -> FeedbackReward:
        if not isinstance(feedback, str):
            raise TypeError(f"feedback is a text, got {type(feedback).__name__} {feedback!r:.80}")
        made = super().__new__(cls, reward)
        made.feedback = feedback
        return made

    def __getnewargs__(self) -> tuple[float, str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """For pickle: reward functions may run in processes of their own."""
        return float(self), self.feedback


class Feedback:
    """Collects what reward functions say between two calls of `take`."""

    def __init__(self) -> None:
        self._kept: dict[int, list[str]] = {}

    def add(self, name: str, rewards: Sequence[float | None]) -> None:
        """What the reward function `name` returned for this process's completions, in their order."""
        for row, reward in enumerate(rewards):
            if isinstance(reward, FeedbackReward) and reward.feedback.strip():
                self._kept.setdefault(row, []).append(reward.feedback.strip())

    def take(self) -> Mapping[int, str]:
        """Row -> what all functions said of it, a function a line; nothing is kept."""
        kept, self._kept = self._kept, {}
        return {row: "\n".join(said) for row, said in kept.items()}
