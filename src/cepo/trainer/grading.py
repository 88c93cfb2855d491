"""The rollouts of a generation with their verdicts, as credit reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from accelerate.utils import gather_object
from torch import Tensor

from cepo.credit.groups import LocalGroups, Verdicts, gather_groups, grade_rollouts, problem_of
from cepo.data.messages import completion_text, solution_text
from cepo.glossary import Group, Rollout
from cepo.trainer.config import CEPOConfig
from cepo.trainer.resample import Drawn

__all__ = ["Grader"]


@dataclass(frozen=True, slots=True)
class Grader:
    """Says what is right.

    Attributes:
        config: of the run.
        told: columns of the data that prompts tell.
        reward_names: of the reward functions, in their order.
        total: rewards (B, R) to totals (B,).
    """

    config: CEPOConfig
    told: Sequence[str]
    reward_names: Sequence[str]
    total: Callable[[Tensor], Tensor]

    def groups(self, drawn: Drawn, process_index: int) -> LocalGroups:
        """Complete groups of the local rows, graded (a collective call).

        A rollout's text is what siblings are told of it: with the tools that it called, which are not graded.
        """
        local, problems = self._graded(drawn)
        texts, feedback = map(solution_text, drawn.graded.completions), drawn.graded.feedback
        local = [
            replace(rollout, text=text, feedback=feedback.get(row))
            for row, (rollout, text) in enumerate(zip(local, texts, strict=True))
        ]
        return gather_groups(local, problems, self.config.group_size, process_index, gather_object)

    def verdicts(self, drawn: Drawn) -> list[bool | None]:
        """Whether each local row is right; None: nobody says."""
        return [rollout.correct for rollout in self._graded(drawn)[0]]

    def _graded(self, drawn: Drawn) -> tuple[list[Rollout], list[Group]]:
        """The local rows with their verdicts, and what the data say of their problems."""
        config, rewards = self.config, drawn.graded.rewards
        names = config.answer_column, config.solution_column
        problems = [problem_of(row, *names, self.told) for row in drawn.inputs]
        verdicts = None
        if config.wrong_reward is not None:
            column = self.reward_names.index(config.wrong_reward)
            verdicts = Verdicts(rewards[:, column].tolist(), config.wrong_below)
        texts = [completion_text(completion) for completion in drawn.graded.completions]
        golds = [problem.gold for problem in problems]
        return grade_rollouts(texts, golds, self.total(rewards).tolist(), verdicts, config.grading), problems
