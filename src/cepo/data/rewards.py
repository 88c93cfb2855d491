r"""Reward functions for TRL's trainers, and a preflight that calls any reward function before training does.

A reward function takes `prompts`, `completions` and one list per data column, by keyword, and returns one
number per completion, or None where it has nothing to say (TRL leaves None out of the total). A completion
is a string, or the list of messages that the model added to a conversation.

Left out on purpose: length penalties, partial credit and shaping; write those as functions of your own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from cepo.answers import boxed_spans, grade, why_not_gradable
from cepo.data.guards import RewardFunc, call_bounded, guard_reward
from cepo.errors import DataError, RewardError, SettingError, did_you_mean
from cepo.glossary import Completion, DataRow

__all__ = [
    "REWARDS",
    "RewardError",
    "RewardFunc",
    "accuracy_reward",
    "completion_text",
    "format_reward",
    "get_reward",
    "guard_reward",
    "preflight_rewards",
    "told_apart",
]


def completion_text(completion: Completion) -> str:
    """What the model wrote: the text, or the contents of all assistant messages, one per line.

    Tool results are not the model's words and do not count; image parts have no text.

    Raises:
        TypeError: neither a string nor messages.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence) or not all(isinstance(message, Mapping) for message in completion):
        raise TypeError(f"a completion is a string or a list of messages, got {completion!r:.80}")
    return "\n".join(_content(message) for message in completion if message.get("role") == "assistant")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(part.get("text") or "" for part in content)
    return content or ""  # a message that only calls a tool has no content


def accuracy_reward(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    answer: Sequence[object],
    **_: object,
) -> list[float | None]:
    """1.0 where the last boxed answer is the gold `answer` (see `cepo.answers`), else 0.0; None without gold.

    Raises:
        DataError: a gold answer that cannot be graded. It would be 0 for ever.
    """
    rewards: list[float | None] = []
    for completion, gold in zip(completions, answer, strict=True):
        if gold is None:
            rewards.append(None)
        elif reason := why_not_gradable(gold):
            raise DataError(f"the gold answer of row {len(rewards)} cannot be graded: {reason}")
        else:
            rewards.append(float(grade(completion_text(completion), str(gold))))
    return rewards


def format_reward(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    **_: object,
) -> list[float | None]:
    r"""1.0 where the text boxes one answer, not empty, and says no more after it; else 0.0.

    Punctuation, `$` and `\)` may follow; a letter or a digit may not. A box that is never closed is no box.
    """
    return [float(_ends_in_one_box(completion_text(completion))) for completion in completions]


def _ends_in_one_box(text: str) -> bool:
    spans = boxed_spans(text)
    if len(spans) != 1:
        return False
    start, end = spans[0]
    return bool(text[start:end].strip()) and not any(character.isalnum() for character in text[end:])


REWARDS: dict[str, RewardFunc] = {
    "accuracy_reward": accuracy_reward,
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
    reward_funcs: Sequence[RewardFunc], rows: Sequence[DataRow], timeout_s: float, **extra: object
) -> list[list[float | None]]:
    r"""Call each reward function once on `rows`, each answered by `\boxed{its gold answer}`, before training.

    `rows` are rows of the data set (a handful), with `prompt` and the columns that the functions read; a row
    without a gold answer is answered by a box with 0. `extra` is passed on as is: whatever else the trainer
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
    texts = [rf"\boxed{{{0 if gold is None else gold}}}" for gold in golds]
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
        if inspect.unwrap(reward_func) is accuracy_reward:
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
