"""Where the CPU seconds of a training step go: functions of trainer and scoring, each timed without those within it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import trl.trainer.grpo_trainer as trl_grpo
from transformers import Trainer

import cepo.credit.prompts
import cepo.credit.step
import cepo.scoring
import cepo.scoring.forward
import cepo.scoring.head
import cepo.trainer.grading
import cepo.trainer.recorder
import cepo.trainer.trainer
from cepo.trainer.internals import HostTrainer

__all__ = ["CREDIT", "PHASES", "StepClock"]

TRAINER, GRPO = cepo.trainer.trainer, trl_grpo.GRPOTrainer
POINTS: tuple[tuple[object, str, str], ...] = (
    (GRPO, "_generate", "generation"),
    (GRPO, "_calculate_rewards", "rewards"),
    (GRPO, "training_step", "update"),
    (GRPO, "log", "logging"),
    (Trainer, "_maybe_log_save_evaluate", "logging"),
    (HostTrainer, "step_ended", "logging"),
    (cepo.trainer.grading.Grader, "groups", "gathering"),
    (TRAINER, "row_references", "references"),
    (cepo.credit.prompts.TeacherPrompts, "place", "tokenising"),
    (cepo.credit.prompts.TeacherPrompts, "reference_ids", "tokenising"),
    (TRAINER, "plan_scoring", "planning"),
    (cepo.scoring, "unique_rows", "planning"),
    (cepo.scoring, "make_plan", "planning"),
    (TRAINER.CEPOTrainer, "_score", "scoring, the rest"),
    (cepo.scoring.forward, "read_tokens", "forwards"),
    (cepo.scoring.head, "_read", "output layer"),
    (TRAINER, "assign_credit", "assignment"),
    (TRAINER, "step_sums", "credit's figures"),
    (TRAINER, "credit_metrics", "credit's figures"),
    (cepo.trainer.recorder.StepRecorder, "choose", "recording"),
    (cepo.trainer.recorder.StepRecorder, "write", "recording"),
    (TRAINER.CEPOTrainer, "_with_credit", "credit, the rest"),
)
"""(owner, function, phase). What is in none of them is `the rest`."""

CREDIT = (
    "gathering", "references", "tokenising", "planning", "forwards", "output layer", "scoring, the rest",
    "assignment", "credit's figures", "recording", "credit, the rest",
)  # fmt: skip
"""Phases that GRPO has not; `gathering` grades the rollouts again for the records and references."""

PHASES = ("generation", "rewards", *CREDIT, "logging", "update", "the rest")


class StepClock:
    """CPU seconds of this process by phase, step after step.

    A phase's time excludes that of the phases within it; of a recorder that writes in a thread of its own the thread's
    time is `recording` too: it is waited for, which costs no CPU.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._own = dict.fromkeys(PHASES, 0.0)
        self._running = ["the rest"]
        self._since = time.process_time()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block the functions of POINTS are timed."""
        with ExitStack() as stack:
            for owner, name, phase in POINTS:
                own: Any = getattr(owner, name)
                setattr(owner, name, self._timed(own, phase, wait=name == "write"))
                stack.callback(setattr, owner, name, own)
            yield

    def step_ended(self) -> None:
        """What was measured since the last call is a step."""
        self._book()
        self.steps.append(self._own)
        self._own = dict.fromkeys(PHASES, 0.0)

    def _timed(self, own: Callable[..., Any], phase: str, wait: bool) -> Callable[..., Any]:
        @wraps(own)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._book()
            self._running.append(phase)
            try:
                found = own(*args, **kwargs)
                if wait and hasattr(args[0], "flush"):
                    args[0].flush()
                return found
            finally:
                self._book()
                self._running.pop()

        return timed

    def _book(self) -> None:
        now = time.process_time()
        self._own[self._running[-1]] += now - self._since
        self._since = now
