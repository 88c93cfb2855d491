"""What can go wrong in a reward function, turned into one error that names the function.

A guard changes no reward: it bounds the time, checks what comes back, and says which function failed on how
many completions. The functions themselves are in `cepo.data.rewards`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeAlias

import torch

from cepo.data.feedback import FeedbackReward
from cepo.data.scores import TokenReward
from cepo.errors import RewardError

__all__ = ["RewardFunc", "call_bounded", "guard_reward"]

RewardFunc = Callable[..., Any]
"""What TRL calls: keyword arguments in, one reward per completion out; `async` or not."""

Seen: TypeAlias = Callable[[str, list[float | None]], None] | None


def guard_reward(reward_func: RewardFunc, timeout_s: float | None, seen: Seen = None) -> RewardFunc:
    """The same reward function, except that what goes wrong in it is a `RewardError` that names it.

    An exception, more than `timeout_s` seconds, a wrong number of rewards and a reward that is no number
    raise. A reward that is not finite becomes None, which TRL leaves out, with one warning per function that
    counts them. `async` functions stay `async`, for TRL runs those side by side.

    A function with a timeout runs in a thread of its own, which Python cannot kill: after a timeout it is
    left behind. That thread has the caller's grad mode, autocast and current device, and may not set signal
    handlers. `timeout_s=None` or 0 runs the function in the caller's thread, without limit. An `async` function is
    interrupted where it awaits, and nowhere else. Reward models (`nn.Module`) are TRL's to call: do not guard
    them. `seen` is called with the function's name and its rewards.
    """
    timeout_s = timeout_s or None
    wrap = _guarded_async if _is_async(reward_func) else _guarded_sync
    guarded = functools.update_wrapper(wrap(reward_func, timeout_s, seen), reward_func)
    guarded.__name__ = _name(reward_func)  # a callable object or a partial has none, and TRL logs by it
    return guarded


def call_bounded(
    reward_func: RewardFunc, inputs: Mapping[str, object], rows: int, timeout_s: float
) -> list[float | None]:
    """The rewards of `rows` completions, of an `async` function too; no more than `timeout_s` seconds (0: as many as it
    takes, in the caller's thread).

    Raises:
        RewardError: as under `guard_reward`.
    """
    name = _name(reward_func)
    if _is_async(reward_func):
        # In the new thread, where no event loop runs, as one does in a notebook's main thread.
        found = _in_thread(functools.partial(_run, reward_func, inputs), name, rows, timeout_s or None)
    elif timeout_s:
        found = _in_thread(functools.partial(reward_func, **inputs), name, rows, timeout_s)
    else:
        return guard_reward(reward_func, None)(**inputs)
    return _Check(name)(found, rows)


def _run(reward_func: RewardFunc, inputs: Mapping[str, object]) -> object:
    return asyncio.run(reward_func(**inputs))


def _guarded_async(reward_func: RewardFunc, timeout_s: float | None, seen: Seen) -> RewardFunc:
    name, check = _name(reward_func), _Check(_name(reward_func), seen)

    async def guarded(*args: Any, **kwargs: Any) -> list[float | None]:
        rows, limit = _rows(args, kwargs), asyncio.timeout(timeout_s)
        try:
            async with limit:
                returned = await reward_func(*args, **kwargs)
        except Exception as error:
            raise (_late(name, rows, timeout_s) if limit.expired() else _failed(name, rows, error)) from error
        return check(returned, rows)

    return guarded


def _guarded_sync(reward_func: RewardFunc, timeout_s: float | None, seen: Seen) -> RewardFunc:
    name, check = _name(reward_func), _Check(_name(reward_func), seen)

    def guarded(*args: Any, **kwargs: Any) -> list[float | None]:
        rows = _rows(args, kwargs)
        if timeout_s:
            call = functools.partial(reward_func, *args, **kwargs)
            return check(_in_thread(call, name, rows, timeout_s), rows)
        try:
            returned = reward_func(*args, **kwargs)
        except Exception as error:
            raise _failed(name, rows, error) from error
        return check(returned, rows)

    return guarded


def _in_thread(call: Callable[[], object], name: str, rows: int, timeout_s: float | None) -> object:
    outcome: list[tuple[object, BaseException | None]] = []
    context, torchs_state = contextvars.copy_context(), _torchs_state()

    def work() -> None:
        try:
            with torchs_state():
                outcome.append((context.run(call), None))
        except BaseException as error:  # a SystemExit in a reward function is a failure like any other
            outcome.append((None, error))

    thread = threading.Thread(target=work, name=f"reward {name}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise _late(name, rows, timeout_s)
    returned, error = outcome[0]
    if isinstance(error, RewardError):
        raise error  # it was guarded already and says all there is to say
    if error is not None:
        raise _failed(name, rows, error) from error
    return returned


def _torchs_state() -> Callable[[], AbstractContextManager[None]]:
    """What torch keeps for each thread, as it is in this one, to be entered in another: gradients, autocast, device."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    casts = [(kind, torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    @contextmanager
    def entered() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            for kind, dtype in casts:
                stack.enter_context(torch.autocast(kind, dtype))
            if device is not None:
                stack.enter_context(torch.cuda.device(device))
            yield

    return entered


class _Check:
    """The check of what one function returns; it remembers whether it has warned."""

    def __init__(self, name: str, seen: Seen = None) -> None:
        self._name = name
        self._seen = seen
        self._warned = False

    def __call__(self, returned: object, rows: int) -> list[float | None]:
        numbers = [self._number(value, row) for row, value in enumerate(self._values(returned, rows))]
        finite = [number if number is None or math.isfinite(number) else None for number in numbers]
        unscorable = finite.count(None) - numbers.count(None)
        if unscorable and not self._warned:
            self._warned = True
            warnings.warn(
                f"reward {self._name!r}: {unscorable} of {rows} rewards are not finite and count as None "
                "(unscorable); later ones are not reported",
                RuntimeWarning,
                stacklevel=3,
            )
        if self._seen is not None:
            self._seen(self._name, finite)
        return finite

    def _values(self, returned: Any, rows: int) -> list[object]:
        try:
            values = None if isinstance(returned, str | bytes | Mapping) else list(returned)
        except TypeError:
            values = None
        if values is None:
            raise RewardError(f"reward {self._name!r} returned {returned!r:.80}, not a list of {rows} rewards")
        if len(values) != rows:
            raise RewardError(f"reward {self._name!r} returned {len(values)} rewards for {rows} completions")
        return values

    def _number(self, value: Any, row: int) -> float | None:
        if value is None or isinstance(value, TokenReward | FeedbackReward):
            return value
        if hasattr(value, "__float__"):  # numpy's and torch's scalars too; a string has none
            try:
                return float(value)
            except (TypeError, ValueError, RuntimeError, OverflowError):
                pass
        kind = type(value).__name__
        raise RewardError(f"reward {self._name!r} returned {value!r:.80} ({kind}) for row {row}, no number")


def _rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    return len(kwargs["completions"] if "completions" in kwargs else args[1])


def _late(name: str, rows: int, timeout_s: float | None) -> RewardError:
    return RewardError(f"reward {name!r} took more than {timeout_s:g} s on {rows} completions")


def _failed(name: str, rows: int, error: BaseException) -> RewardError:
    hint = "; set reward_timeout: 0, which calls rewards in the main thread" if "main thread" in str(error) else ""
    return RewardError(f"reward {name!r} failed on {rows} completions: {type(error).__name__}: {error}{hint}")


def _innermost(reward_func: RewardFunc) -> RewardFunc:
    while isinstance(reward_func, functools.partial):
        reward_func = reward_func.func
    return reward_func


def _name(reward_func: RewardFunc) -> str:
    inner = _innermost(reward_func)
    return getattr(inner, "__name__", type(inner).__name__)


def _is_async(reward_func: RewardFunc) -> bool:
    inner = _innermost(reward_func)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)
