"""lambda over time: pure functions of the global step, so there is nothing to restore on resume."""

from cepo.errors import SettingError


def linear_decay(step: int, start: float, decay_steps: int) -> float:
    """The paper's schedule: `start` at step 1, falling linearly to 0 at step decay_steps + 1, then 0.

    lambda_s = start * max(0, 1 - (s - 1) / decay_steps), s = 1, 2, ... global optimiser steps.
    Source: arXiv 2605.19436 (0.5 over 25 steps).

    Raises:
        ValueError: step < 1, decay_steps < 1, or start outside [0, 1].
    """
    if decay_steps < 1:
        raise SettingError(f"decay_steps must be at least 1, got {decay_steps}")
    return constant(step, start) * max(0.0, 1.0 - (step - 1) / decay_steps)


def constant(step: int, start: float) -> float:
    """The ablation's schedule: lambda_s = start at every global step s = 1, 2, ...

    Raises:
        ValueError: step < 1, or start outside [0, 1].
    """
    if step < 1:
        raise SettingError(f"steps count from 1, got step={step}")
    if not 0.0 <= start <= 1.0:
        raise SettingError(f"start (lambda_0) must lie in [0, 1], got {start}")
    return float(start)
