"""Reward functions score what they say, and a preflight finds the broken one before training does."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

import pytest

from cepo.answers import BOXED, Grading, grader_timeouts, pool, verdict
from cepo.data.rewards import (
    REWARDS,
    RewardError,
    accuracy_reward,
    bind_reward,
    completion_text,
    format_reward,
    get_reward,
    guard_reward,
    preflight_rewards,
)

TAGS = Grading("tags")
PROMPT = [{"role": "user", "content": "What is 2 + 3?"}]


def said(text: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def returning(value: Any, asynchronous: bool) -> Any:
    if asynchronous:

        async def mine(**_: Any) -> Any:
            return value
    else:

        def mine(**_: Any) -> Any:
            return value

    return mine


def call(reward_func: Any, completions: list[Any], **columns: Any) -> Any:
    """As TRL calls it: keywords only, and more of them than a function reads."""
    prompts = [PROMPT] * len(completions)
    return reward_func(prompts=prompts, completions=completions, completion_ids=[[1]], **columns)


# --- what the rewards say ---------------------------------------------------------------------------------


def test_accuracy_reads_the_last_box_of_text_and_of_messages() -> None:
    completions = [r"\boxed{4} \boxed{5}", said(r"\boxed{5}"), said(r"\boxed{5} \boxed{4}"), "5", said(None)]
    assert call(accuracy_reward, completions, answer=["5"] * 5) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert accuracy_reward([PROMPT], [r"\boxed{5}"], ["5"]) == [1.0]


def test_accuracy_takes_numbers_as_gold_and_scores_nothing_without_gold() -> None:
    assert call(accuracy_reward, [r"\boxed{5}"] * 3, answer=[5, 5.0, None]) == [1.0, 1.0, None]


@pytest.mark.parametrize(("gold", "reason"), [("", "empty"), (["5"], "list"), ("{", "no letter")])
def test_accuracy_refuses_a_gold_answer_that_nothing_can_match(gold: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"row 1 .*{reason}"):
        call(accuracy_reward, [r"\boxed{5}"] * 2, answer=["5", gold])


def test_accuracy_refuses_columns_of_another_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        call(accuracy_reward, [r"\boxed{5}"] * 2, answer=["5"])


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (r"so \boxed{5}", 1.0),
        (r"so $\boxed{\frac{1}{2}}$." + "\n", 1.0),
        (r"\[ \boxed{5} \]", 1.0),
        (r"**\boxed{5}**", 1.0),
        (r"\boxed{5} it is", 0.0),
        (r"\boxed{5} 6", 0.0),
        (r"\boxed{4}, no: \boxed{5}", 0.0),
        (r"\boxed{\boxed{5}}", 0.0),
        (r"\boxed{ }", 0.0),
        (r"\boxed{5", 0.0),
        ("5", 0.0),
        ("", 0.0),
    ],
)
def test_format_wants_one_box_at_the_end(text: str, reward: float) -> None:
    assert call(format_reward, [text, said(text)]) == [reward, reward]


def test_the_text_of_a_conversation_is_what_the_model_said() -> None:
    parts = [{"type": "text", "text": "so "}, {"type": "image"}, {"type": "text", "text": r"\boxed{5}"}]
    assert completion_text(said(parts)) == r"so \boxed{5}"
    turns = [*said(None), {"role": "tool", "content": r"\boxed{6}"}, *said(r"\boxed{5}")]
    assert call(accuracy_reward, [turns, turns[:2]], answer=["5", "6"]) == [1.0, 0.0]
    for malformed in (None, 5, [r"\boxed{5}"]):
        with pytest.raises(TypeError, match="list of messages"):
            completion_text(malformed)  # type: ignore[arg-type]


def test_a_reward_is_found_by_name_and_a_misspelling_names_the_nearest() -> None:
    assert [get_reward(name) for name in REWARDS] == list(REWARDS.values())
    assert all(name == reward_func.__name__ for name, reward_func in REWARDS.items())
    for wrong in ("acuracy_reward", "accuracy"):
        with pytest.raises(ValueError, match="did you mean 'accuracy_reward'"):
            get_reward(wrong)
    with pytest.raises(ValueError, match=r"choose from accuracy_reward, chain_oracle, chain_values, format_reward$"):
        get_reward("zzz")


# --- as a run's grading has them --------------------------------------------------------------------------


def test_bound_rewards_follow_the_format() -> None:
    completions = [r"\boxed{5}", "so <answer>5</answer>", "<answer>6</answer>", said("<answer> 5 </answer> it is")]
    accuracy, form = (bind_reward(ours, TAGS) for ours in (accuracy_reward, format_reward))
    assert call(accuracy, completions, answer=["5"] * 4) == [0.0, 1.0, 0.0, 1.0]
    assert call(form, completions) == [0.0, 1.0, 1.0, 0.0]
    assert (accuracy.__name__, form.__name__) == ("accuracy_reward", "format_reward")
    assert call(accuracy, completions, answer=["5"] * 4, grading=["x"] * 4, base=["y"] * 4) == [0.0, 1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="reads the column 'answer'"):
        call(accuracy, completions)


def test_the_grader_of_trl_scores_nothing_where_it_cannot_read_the_gold_answer() -> None:
    theirs = bind_reward(accuracy_reward, Grading(grader="math_verify"))
    assert call(theirs, [r"\boxed{5}", r"\boxed{5}", r"\boxed{6}"], answer=["5", "a $", "5"]) == [1.0, None, 0.0]


def test_only_ours_are_bound_and_what_would_grade_otherwise_is_refused() -> None:
    mine = returning([1.0], False)
    assert bind_reward(mine, TAGS) is mine
    bound = bind_reward(accuracy_reward, TAGS)
    assert bind_reward(bound, TAGS) is bound
    for hidden in (
        functools.partial(accuracy_reward),
        guard_reward(accuracy_reward, 5.0),
        bind_reward(accuracy_reward, BOXED),
    ):
        with pytest.raises(
            ValueError, match=r"'accuracy_reward' that was handed over grades by .*boxed.* the run by .*tags"
        ):
            bind_reward(hidden, TAGS)
        assert bind_reward(hidden, BOXED) is hidden


def test_a_late_verdict_is_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A starved machine says nothing of the answer."""

    def starved(worker: Any, question: bytes, timeout_s: float) -> bool:
        raise pool.Late

    monkeypatch.setattr(pool.Worker, "ask", starved)
    verdict._remembered.clear()
    before = grader_timeouts()
    completions = [r"\boxed{\sum_{k=1}^{10} k^2}", r"\boxed{\sum_{k=1}^{10} k\cdot k}", r"\boxed{7}"]
    assert call(accuracy_reward, completions, answer=[r"\sum_{k=1}^{10} k\cdot k"] * 3) == [None, 1.0, 0.0]
    assert grader_timeouts() == before + 1
    monkeypatch.undo()
    assert call(accuracy_reward, completions[:1], answer=[r"\sum_{k=1}^{10} k\cdot k"]) == [1.0]


# --- preflight --------------------------------------------------------------------------------------------

ROWS = [
    {"prompt": PROMPT, "answer": "5", "level": 1},
    {"prompt": PROMPT, "answer": r"\frac{1}{2}", "level": 2},
]


def test_a_preflight_passes_what_the_trainer_would_pass() -> None:
    seen: dict[str, Any] = {}

    def mine(prompts: Any, completions: Any, completion_ids: Any, level: Any, **rest: Any) -> list[float]:
        seen.update(rest, prompts=prompts, completions=completions, level=level, ids=len(completion_ids))
        rest["log_metric"]("mine", 1.0)
        rest["log_extra"]("mine", [1, 2])
        return [1.0, 0.0]

    async def mine_too(answer: Any, **_: Any) -> list[None]:
        return [None for _ in answer]

    preflight_rewards([mine, mine_too, accuracy_reward, format_reward], ROWS, 5.0, trainer_state="state")
    assert seen["completions"] == [said(r"\boxed{5}"), said(r"\boxed{\frac{1}{2}}")]
    assert (seen["prompts"], seen["level"], seen["ids"]) == ([PROMPT, PROMPT], [1, 2], 2)
    assert (seen["trainer_state"], seen["answer"]) == ("state", ["5", r"\frac{1}{2}"])
    assert "prompt" not in seen


def test_a_preflight_answers_text_with_text_and_no_gold_with_zero() -> None:
    seen: list[Any] = []

    def mine(completions: Any, **_: Any) -> list[None]:
        seen.extend(completions)
        return [None]

    preflight_rewards([mine], [{"prompt": "2 + 3?"}], 5.0)
    preflight_rewards([mine, accuracy_reward], [{"prompt": "2 + 3?", "answer": None}], 5.0)
    assert seen == [r"\boxed{0}"] * 2


@pytest.mark.parametrize("guarded", [False, True])
def test_a_preflight_finds_each_way_to_fail(guarded: bool) -> None:
    async def fails(**_: Any) -> list[float]:
        raise OSError("no server")

    def hangs(**_: Any) -> list[float]:
        time.sleep(3)
        return [1.0, 1.0]

    for reward_func, reason in (
        (fails, "'fails' failed on 2 completions: OSError: no server$"),
        (hangs, "'hangs' took more than 0.2 s"),
        (returning([1.0], True), "'mine' returned 1 rewards"),
    ):
        tried = guard_reward(reward_func, 0.2) if guarded else reward_func
        with pytest.raises(RewardError, match=f"^reward {reason}"):
            preflight_rewards([format_reward, tried], ROWS, 0.2)


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: guard_reward(f, 5.0)], ids=["bare", "guarded"])
def test_a_preflight_wants_every_gold_answer_to_score(wrap: Any) -> None:
    with pytest.raises(RewardError, match="row 1 cannot be graded: it is empty"):
        preflight_rewards([wrap(accuracy_reward)], [ROWS[0], ROWS[1] | {"answer": ""}], 5.0)
    with pytest.raises(RewardError, match=r"gives 0.0 to the gold answer '5' itself \(row 0\)"):
        preflight_rewards([wrap(accuracy_reward)], ROWS, 5.0, TAGS)
    with pytest.raises(RewardError, match=r"gives 0.0 to the gold answer '5' itself \(row 0\)"):
        preflight_rewards([wrap(bind_reward(accuracy_reward, TAGS))], ROWS, 5.0)
    assert preflight_rewards([wrap(bind_reward(accuracy_reward, TAGS))], ROWS, 5.0, TAGS) == [[1.0, 1.0]]


def test_a_preflight_works_where_an_event_loop_runs() -> None:
    async def notebook() -> None:
        preflight_rewards([returning([1.0, 1.0], True)], ROWS, 5.0)

    asyncio.run(notebook())


@pytest.mark.parametrize("rows", [[], [{"answer": "5"}], [ROWS[0], {"prompt": PROMPT}]])
def test_a_preflight_refuses_rows_that_are_not_alike(rows: Any) -> None:
    with pytest.raises(ValueError, match="row"):
        preflight_rewards([format_reward], rows, 5.0)
