"""Stopping a run on a signal without losing a step: when it may happen, and what a checkpoint then holds.

A signal is noted, and training stops at the next forward of the model: never inside of an optimiser step, a swap of
weights or a write. What is saved is the state at the end of the last whole step, with the random numbers as they were
there, so that a resumed run repeats the step that was broken off and is equal to one that was never stopped.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback

from cepo.trainer.checkpoint import COMPLETE

if TYPE_CHECKING:
    from cepo.trainer.internals import HostTrainer

__all__ = ["GRACE_S", "SIGNALS", "Boundary", "StopAtStep", "Stopped", "Stopping"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
"""Seconds from a signal until a step that has no forward (a reward, another engine's generation) is broken off."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop. `signal` says by what."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


def random_state(many: bool) -> dict[str, Any]:
    """Of this process's random numbers, as transformers saves it; `many`: there are other processes."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 (transformers saves and loads this one)
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        cuda = torch.cuda.random
        state["cuda"] = cuda.get_rng_state_all() if many else cuda.get_rng_state()
    return state


@dataclass(frozen=True, slots=True)
class Boundary:
    """The end of a step: what of a run's state the next step changes before its optimiser step.

    Attributes:
        step: of the trainer; 0: before the first.
        random: by process: the state of its random numbers.
        micro_steps: of TRL's counter.
        window: TRL's generated batches, of which some are still to be trained on.
    """

    step: int
    random: Sequence[Mapping[str, Any]]
    micro_steps: int
    window: Any


class Stopping:
    """Within `listening` the signals stop the run; the first of them decides, a second Ctrl-C stops at once.

    `patient` makes them wait for `check`; elsewhere they raise where the main thread stands.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._patient = self._held = False
        self._grace = GRACE_S
        self._may_break: Callable[[], bool] = lambda: True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """In the main thread, where signals arrive; elsewhere nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._arrive) for number in SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._too_late)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def patient(self, may_break: Callable[[], bool] | None) -> Iterator[None]:
        """In the block a signal is noted, and `check` raises it.

        Args:
            may_break: asked once the grace time is over, and each second from then: whether the run may be broken
                off where it stands. None: never, another process decides.
        """
        self._patient, self._held = True, False
        self._grace, self._may_break = (0.0, lambda: False) if may_break is None else (GRACE_S, may_break)
        try:
            yield
        finally:
            self._patient = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def hold(self) -> None:
        """From here on the state is between two steps: nothing may stop the run until `release`."""
        self._held = True

    def release(self) -> None:
        self._held = False

    @property
    def is_held(self) -> bool:
        return self._held

    def check(self) -> None:
        """Raise Stopped where a signal has come and nothing forbids to stop."""
        if self.asked is not None and not self._held:
            raise Stopped(self.asked)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked is not None, self.asked or signal.Signals(number)
        if again:
            if number == signal.SIGINT and not self._held:
                raise Stopped(self.asked)
        elif not self._patient:
            raise Stopped(self.asked)
        elif self._grace:
            signal.setitimer(signal.ITIMER_REAL, self._grace, 1.0)

    def _too_late(self, number: int, frame: FrameType | None) -> None:
        if self._may_break():
            self.check()


class StopAtStep(TrainerCallback):
    """What ties a trainer to the signals: where it asks for them, and the state that a checkpoint of now would have.

    On one process training is broken off at the next forward. On several the main process does so, if the weights
    are whole on it: it saves alone, with what all have told it at the end of the last step. Where weights are
    sharded, or a generated batch is half used, all processes agree at the end of a step, and save together.
    """

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.boundary: Boundary | None = None
        self._agreed = False

    @contextmanager
    def training(self, trainer: HostTrainer) -> Iterator[None]:
        """The block in which `trainer` trains."""
        alone = trainer.accelerator.num_processes == 1
        decides = alone or (trainer.accelerator.is_main_process and not trainer.weights_are_sharded)

        def may_stop() -> bool:
            return alone or trainer.window is None

        def ask(*_: object) -> None:
            if decides and may_stop():
                self.stopping.check()

        embedding = trainer.policy.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        handle = embedding.register_forward_pre_hook(ask)  # pyright: ignore[reportAttributeAccessIssue]
        trainer.stopping = self
        trainer.add_callback(self)
        try:
            with self.stopping.patient((lambda: trainer.is_generating and may_stop()) if decides else None):
                yield
        finally:
            handle.remove()
            trainer.stopping = None

    def on_pre_optimizer_step(self, args: object, state: object, control: object, **kwargs: object) -> None:
        self.stopping.hold()

    def step_ended(self, trainer: HostTrainer) -> None:
        """After a step: keep its state, and stop where a process has been asked to (a collective call)."""
        self.boundary = trainer.boundary()
        self.stopping.release()
        asked = self.stopping.asked
        if trainer.accelerator.num_processes > 1:
            asked = next((one for one in gather_object([asked]) if one is not None), None)
        if asked is not None:
            self._agreed = True
            raise Stopped(asked)

    def save(self, trainer: HostTrainer) -> Path | None:
        """The checkpoint of the last whole step, written unless it is there; None: there can be none.

        There is none before the first step's end, and where a step is broken off in its optimiser, or on several
        processes in a way that not all know of.
        """
        folder = Path(str(trainer.args.output_dir)) / f"checkpoint-{trainer.state.global_step}"
        if (folder / COMPLETE).is_file():
            return folder
        if self.stopping.is_held or self.boundary is None or self.boundary.step != trainer.state.global_step:
            return None
        if self._agreed:
            trainer.save_now()
            return folder
        several = trainer.accelerator.num_processes > 1
        if several and (trainer.weights_are_sharded or trainer.window is not None):
            return None
        if trainer.args.should_save:
            trainer.save_alone(self.boundary)
        return folder
