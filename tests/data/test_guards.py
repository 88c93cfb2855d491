"""A guard changes no reward, and turns every failure of a reward function into one error that names it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import signal
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.data.guards import call_bounded
from cepo.data.rewards import RewardError, accuracy_reward, format_reward, guard_reward


def call(reward_func: Any, completions: list[Any], **columns: Any) -> Any:
    """As TRL calls it: keywords only, and more of them than a function reads."""
    return reward_func(prompts=["?"] * len(completions), completions=completions, completion_ids=[[1]], **columns)


TIMEOUTS = pytest.mark.parametrize("timeout_s", [None, 5.0], ids=["same thread", "own thread"])


def returning(value: Any, asynchronous: bool) -> Any:
    if asynchronous:

        async def mine(**_: Any) -> Any:
            return value
    else:

        def mine(**_: Any) -> Any:
            return value

    return mine


def run(reward_func: Any, completions: list[Any], **columns: Any) -> Any:
    result = call(reward_func, completions, **columns)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


KINDS = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@TIMEOUTS
@KINDS
@pytest.mark.parametrize(
    "good", [[1, 0.5, None], (1, 0.5, None), [np.float32(1), torch.tensor(0.5), None], [True, 0.5, None]]
)
def test_a_guard_changes_no_reward(good: Any, asynchronous: bool, timeout_s: float | None) -> None:
    guarded = guard_reward(returning(good, asynchronous), timeout_s)
    assert inspect.iscoroutinefunction(guarded) == asynchronous
    assert run(guarded, ["a", "b", "c"]) == [1.0, 0.5, None]


@given(st.lists(st.none() | st.floats(), min_size=1, max_size=6))
def test_only_what_is_not_finite_becomes_none(values: list[float | None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guarded = run(guard_reward(returning(values, False), None), ["x"] * len(values))
    assert guarded == [v if v is not None and math.isfinite(v) else None for v in values]


def test_rewards_that_are_not_finite_are_counted_in_one_warning_per_function() -> None:
    guarded = guard_reward(returning([math.nan, math.inf, None, 1.0], False), 5.0)
    with pytest.warns(RuntimeWarning, match=r"'mine': 2 of 4"):
        assert call(guarded, ["x"] * 4) == [None, None, None, 1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(guarded, ["x"] * 4) == [None, None, None, 1.0]
    with pytest.warns(RuntimeWarning):
        call(guard_reward(returning([math.nan], False), 5.0), ["x"])


@TIMEOUTS
@KINDS
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1.0], "1 rewards for 2"),
        ([1.0] * 3, "3 rewards for 2"),
        (None, "None, not a list"),
        (1.0, "1.0, not a list"),
        ("ab", "'ab', not a list"),
        (["1", "0"], r"'1' \(str\) for row 0"),
        ([1.0, 1j], r"\(complex\) for row 1"),
        ([1.0, [1.0]], r"\(list\) for row 1"),
        ([1.0, torch.ones(2)], r"\(Tensor\) for row 1"),
    ],
)
def test_what_is_no_list_of_rewards_is_refused(
    bad: Any, reason: str, asynchronous: bool, timeout_s: float | None
) -> None:
    with pytest.raises(RewardError, match=f"'mine' returned .*{reason}"):
        run(guard_reward(returning(bad, asynchronous), timeout_s), ["a", "b"])


@TIMEOUTS
def test_an_exception_names_the_function_the_rows_and_itself(timeout_s: float | None) -> None:
    def mine(**_: Any) -> list[float]:
        raise KeyError("solution")

    async def mine_too(**_: Any) -> list[float]:
        raise TimeoutError("the server's, not the guard's")

    with pytest.raises(RewardError, match="'mine' failed on 2 completions: KeyError: 'solution'") as raised:
        call(guard_reward(mine, timeout_s), ["a", "b"])
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(RewardError, match="'mine_too' failed on 1 completions: TimeoutError: the server's"):
        run(guard_reward(mine_too, timeout_s), ["a"])


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RewardError, match=r"'accuracy_reward' failed .*'answer'"):
        call(guard_reward(accuracy_reward, 5.0), ["a"])


def test_an_exit_inside_a_reward_is_a_failure_of_the_reward() -> None:
    def mine(**_: Any) -> list[float]:
        raise SystemExit(3)

    with pytest.raises(RewardError, match="SystemExit: 3"):
        call(guard_reward(mine, 5.0), ["a"])


def test_a_hang_ends_at_the_timeout() -> None:
    release = threading.Event()

    def mine(**_: Any) -> list[float]:
        release.wait(30)
        return [1.0]

    async def mine_too(**_: Any) -> list[float]:
        await asyncio.sleep(30)
        return [1.0]

    for reward_func in (mine, mine_too):
        start = time.monotonic()
        with pytest.raises(RewardError, match=rf"'{reward_func.__name__}' took more than 0.2 s on 1 "):
            run(guard_reward(reward_func, 0.2), ["a"])
        assert time.monotonic() - start < 3.0
    release.set()


def test_a_guard_keeps_the_name_that_the_trainer_logs() -> None:
    class Judge:
        def __call__(self, completions: list[Any], **_: Any) -> list[float]:
            return [float(len(text)) for text in completions]

    guarded = [guard_reward(f, 5.0) for f in (format_reward, Judge(), functools.partial(Judge(), extra=1))]
    assert [reward_func.__name__ for reward_func in guarded] == ["format_reward", "Judge", "Judge"]
    assert [call(reward_func, ["ab"]) for reward_func in guarded] == [[0.0], [2.0], [2.0]]


def test_an_async_object_stays_async() -> None:
    class Judge:
        async def __call__(self, completions: list[Any], **_: Any) -> list[float]:
            return [1.0 for _ in completions]

    for judge in (Judge(), functools.partial(Judge(), extra=1)):
        guarded = guard_reward(judge, 5.0)
        assert inspect.iscoroutinefunction(guarded)
        assert run(guarded, ["a"]) == [1.0]


def test_the_thread_has_what_torch_keeps_for_each_thread() -> None:
    def state(completions: Any, **_: Any) -> list[float]:
        return [float(torch.is_grad_enabled()), float(torch.is_autocast_enabled("cpu"))]

    guarded = guard_reward(state, 5.0)
    assert call(guarded, ["a", "b"]) == [1.0, 0.0]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert call(guarded, ["a", "b"]) == [0.0, 1.0]
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_a_reward_that_needs_the_main_thread() -> None:
    def alarmed(completions: Any, **_: Any) -> list[float]:
        signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        return [1.0]

    with pytest.raises(RewardError, match=r"set reward_timeout: 0, which calls rewards in the main thread$"):
        call(guard_reward(alarmed, 5.0), ["a"])
    assert call(guard_reward(alarmed, 0.0), ["a"]) == [1.0]
    assert call_bounded(alarmed, {"completions": ["a"]}, rows=1, timeout_s=0.0) == [1.0]


def test_without_a_timeout_the_callers_thread_is_kept() -> None:
    def mine(**_: Any) -> list[float]:
        return [float(threading.get_ident())]

    assert call(guard_reward(mine, None), ["a"]) == [float(threading.get_ident())]
    assert call(guard_reward(mine, 5.0), ["a"]) != [float(threading.get_ident())]


def test_trl_accepts_a_guarded_function() -> None:
    utils = pytest.importorskip("trl.trainer.utils")
    assert utils.get_callable_name(guard_reward(format_reward, 5.0)) == "format_reward"
    assert utils.is_async_callable(guard_reward(returning([1.0], True), 5.0))
    assert not utils.is_async_callable(guard_reward(returning([1.0], False), 5.0))
