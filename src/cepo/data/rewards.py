r"""Reward functions for TRL's trainers, and a preflight that calls any reward function before training does.

A reward function takes `prompts`, `completions` and one list per data column, by keyword, and returns one
number per completion, or None where it has nothing to say (TRL leaves None out of the total). A completion
is a string, or the list of messages that the model added to a conversation.

Left out on purpose: length penalties, partial credit and shaping; write those as functions of your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cepo.answers import BOXED, Grading
from cepo.data.guards import RewardFunc, call_bounded, guard_reward
from cepo.data.messages import completion_text
from cepo.data.oracles import chain_oracle, chain_values
from cepo.errors import DataError, RewardError, SettingError, did_you_mean
from cepo.glossary import Completion, DataRow

__all__ = [
    "REWARDS",
    "GradedReward",
    "RewardError",
    "RewardFunc",
    "accuracy_reward",
    "bind_reward",
    "completion_text",
    "format_reward",
    "get_reward",
    "guard_reward",
    "preflight_rewards",
    "told_apart",
]


def accuracy_reward(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    answer: Sequence[object] | None = None,
    *,
    run_grading: Grading = BOXED,
    **_: object,
) -> list[float | None]:
    """1.0 where the last boxed answer is the gold `answer` (see `cepo.answers`), else 0.0; None without gold.

    None too where the grader was late: that says nothing of the answer. `CEPOTrainer` and recipes grade as their
    `answer_format`, `grader` and `thinking_counts` say (`bind_reward`); elsewhere the defaults apply.

    Raises:
        DataError: no answers, or a gold answer that cannot be graded. It would be 0 for ever.
    """
    if answer is None:
        raise DataError("accuracy_reward reads the column 'answer', and the data has none")
    return _accuracy(run_grading, completions, answer)


def format_reward(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    *,
    run_grading: Grading = BOXED,
    **_: object,
) -> list[float | None]:
    r"""1.0 where the text boxes one answer, not empty, and says no more after it; else 0.0.

    Punctuation, `$` and `\)` may follow; a letter or a digit may not. A box that is never closed is no box. As to
    other formats see `accuracy_reward`.
    """
    return [float(run_grading.follows(completion_text(completion))) for completion in completions]


def _accuracy(grading: Grading, completions: Sequence[Completion], golds: Sequence[object]) -> list[float | None]:
    texts = [completion_text(completion) for completion in completions]
    reasons = {(type(gold), str(gold)): grading.why_not_gradable(gold) for gold in golds if gold is not None}
    graded = []
    for row, (text, gold) in enumerate(zip(texts, golds, strict=True)):
        if gold is None:
            continue
        if reason := reasons[type(gold), str(gold)]:
            raise DataError(f"the gold answer of row {row} cannot be graded: {reason}")
        graded.append((row, text, str(gold)))
    verdicts = grading.verdicts([text for _, text, _ in graded], [gold for *_, gold in graded])
    rewards: list[float | None] = [None] * len(texts)
    for (row, *_), verdict in zip(graded, verdicts, strict=True):
        rewards[row] = None if verdict.is_open else float(verdict.same is True)
    return rewards


@dataclass(frozen=True)
class GradedReward:
    """A reward of ours (`base`) as a run's `Grading` has it."""

    base: RewardFunc
    grading: Grading

    @property
    def __name__(self) -> str:
        """Metrics carry it."""
        return self.base.__name__

    def __call__(
        self, prompts: Sequence[object], completions: Sequence[Completion], **columns: Any
    ) -> Sequence[float | None]:
        return self.base(prompts, completions, **{**columns, "run_grading": self.grading})


def bind_reward(reward_func: RewardFunc, grading: Grading) -> RewardFunc:
    """The reward that grades as `grading` says, where it is one of ours; any other as it is.

    Raises:
        SettingError: one of ours that grades otherwise: bound to another `Grading`, or inside a partial or a
            guard, where it keeps the defaults.
    """
    if any(reward_func is ours for ours in REWARDS.values()):
        return GradedReward(reward_func, grading)
    inner = _ours_within(reward_func)
    own = inner.grading if isinstance(inner, GradedReward) else BOXED
    if inner is not None and own != grading:
        name = getattr(inner, "__name__", inner)
        raise SettingError(
            f"the reward {name!r} that was handed over grades by {own}, the run by {grading}: hand over "
            f"cepo.{name} itself, or bind_reward({name}, grading)"
        )
    return reward_func


def _ours_within(reward_func: RewardFunc) -> RewardFunc | None:
    """One of our rewards, or one bound, under partials and wrappers; None: a function of someone else's."""
    while not isinstance(reward_func, GradedReward) and not any(reward_func is ours for ours in REWARDS.values()):
        inner = reward_func.func if isinstance(reward_func, partial) else getattr(reward_func, "__wrapped__", None)
        if inner is None:
            return None
        reward_func = inner
    return reward_func


REWARDS: dict[str, RewardFunc] = {
    "accuracy_reward": accuracy_reward,
    "chain_oracle": chain_oracle,
    "chain_values": chain_values,
    "format_reward": format_reward,
}
"""The rewards that a recipe or the command line can name."""


def get_reward(name: str) -> RewardFunc:
    """The reward function of that name.

    Raises:
        SettingError: no such name; the message says which one is nearest.
    """
    if name in REWARDS:
        return REWARDS[name]
    raise SettingError(
        f"unknown reward {name!r}: choose from {', '.join(sorted(REWARDS))}{did_you_mean(name, REWARDS)}"
    )


def told_apart(names: Sequence[str], wrong_reward: str | None) -> list[str]:
    """The names of reward functions, those that stand twice with a number: metrics and records are kept by name.

    Raises:
        SettingError: `wrong_reward` names several.
    """
    if wrong_reward is not None and names.count(wrong_reward) > 1:
        raise SettingError(
            f"wrong_reward={wrong_reward!r} names {names.count(wrong_reward)} reward functions: give them names of "
            "their own (function.__name__)"
        )
    seen: dict[str, int] = {}
    apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        apart.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return apart


def preflight_rewards(
    reward_funcs: Sequence[RewardFunc],
    rows: Sequence[DataRow],
    timeout_s: float,
    grading: Grading = BOXED,
    **extra: object,
) -> list[list[float | None]]:
    r"""Call each reward function once on `rows`, each answered by its gold answer as `grading` asks, before training.

    `rows` are rows of the data set (a handful), with `prompt` and the columns that the functions read; a row
    without a gold answer is answered by 0. `extra` is passed on as is: whatever else the trainer
    passes, such as `trainer_state`. The functions are really called, with what that costs or writes. Returns
    their rewards, by function, then row.

    Raises:
        RewardError: a function raises, takes more than `timeout_s` seconds, returns no list of rewards, or is
            `accuracy_reward` and refuses a gold answer.
        DataError: no rows, or rows that are not alike.
    """
    if not rows:
        raise DataError("a preflight needs at least one row of the data set")
    columns, golds = _columns(rows), [row.get("answer") for row in rows]
    texts = [grading.completion(0 if gold is None else gold) for gold in golds]
    inputs = {
        **{name: values for name, values in columns.items() if name not in _NOT_PASSED},
        "prompts": columns["prompt"],
        "completions": [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for text, prompt in zip(texts, columns["prompt"], strict=True)
        ],
        "completion_ids": [[0] for _ in rows],  # one token each: a length is a length
        "log_extra": _log_nothing,
        "log_metric": _log_nothing,
        **extra,
    }
    returned = []
    for reward_func in reward_funcs:
        returned.append(call_bounded(reward_func, inputs, len(rows), timeout_s))
        ours = _ours_within(reward_func)
        if ours is accuracy_reward or (isinstance(ours, GradedReward) and ours.base is accuracy_reward):
            _check_gold_scores(returned[-1], golds)
    return returned


_NOT_PASSED = ("prompt", "completion", "completion_ids")
"""Columns that TRL hands to no reward function under their own name."""


def _columns(rows: Sequence[DataRow]) -> dict[str, list[Any]]:
    for index, row in enumerate(rows):
        if row.keys() != rows[0].keys() or "prompt" not in row:
            raise DataError(
                "rows need the column 'prompt', and the same columns: "
                f"row 0 has {sorted(rows[0])}, row {index} {sorted(row)}"
            )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _log_nothing(name: str, values: object) -> None:
    """Stands in for the trainer's log: a preflight is no step of training."""


def _check_gold_scores(rewards: Sequence[float | None], golds: Sequence[object]) -> None:
    for row, (reward, gold) in enumerate(zip(rewards, golds, strict=True)):
        if gold is not None and reward != 1.0:
            raise RewardError(f"accuracy_reward gives {reward} to the gold answer {gold!r} itself (row {row})")
