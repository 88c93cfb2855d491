"""What a run shows and keeps while it trains: one progress bar, every logged number and the accuracy as JSONL."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from cepo.runs.folder import write_atomically
from cepo.trainer.checkpoint import writing

__all__ = ["AccuracyCurve", "MetricsFile", "Progress"]

_Logs = Mapping[str, float] | None
SHOWN = {"reward": "reward", "entropy": "entropy", "credit/lambda": "lambda"}


class MetricsFile(TrainerCallback):
    """Appends everything that TRL logs to a JSONL file; a resumed run first drops what it will log again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = 0

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        self._from = state.global_step
        if state.is_world_process_zero and state.global_step < state.max_steps:
            _drop_after(self.path, state.global_step)

    def on_log(self, args: object, state: TrainerState, control: object, logs: _Logs = None, **kwargs: object) -> None:
        if state.is_world_process_zero and logs and (state.global_step > self._from or not self._from):
            with writing(self.path), self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}, default=str) + "\n")


class AccuracyCurve(TrainerCallback):
    """Appends the accuracy before the first step, and after every so many, to a JSONL file.

    A resumed run first drops what it will measure again.
    """

    def __init__(self, path: Path, every: int, measure: Callable[[], Sequence[bool]]) -> None:
        self.path, self.every, self.measure = path, every, measure

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if state.is_world_process_zero:
            _drop_after(self.path, state.global_step)
        if state.global_step == 0:
            self._append(state)

    def on_step_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if state.global_step % self.every == 0:
            self._append(state)

    def _append(self, state: TrainerState) -> None:
        """Measure on every process; the main one writes."""
        started, correct = time.time(), self.measure()
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, "accuracy": sum(correct) / len(correct), "problems": len(correct)}
        with self.path.open("a") as file:
            file.write(json.dumps(line | {"seconds": round(time.time() - started, 3)}) + "\n")


class Progress(TrainerCallback):
    """One bar over the optimiser steps, with the numbers to watch: reward, entropy, lambda."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if state.is_world_process_zero:
            pace = 0.1 if sys.stderr.isatty() else 60.0  # a log file wants few lines
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="training", unit="step", mininterval=pace
            )

    def on_step_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: object, state: TrainerState, control: object, logs: _Logs = None, **kwargs: object) -> None:
        if self._bar is not None and logs:
            shown = {short: f"{logs[name]:.3f}" for name, short in SHOWN.items() if name in logs}
            self._bar.set_postfix(shown, refresh=False)

    def on_train_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _drop_after(path: Path, step: int) -> None:
    """Leave out of a JSONL file the lines of later steps."""
    if path.exists():
        kept = [line for line in path.read_text(errors="replace").splitlines(keepends=True) if _step(line) <= step]
        write_atomically(path, "".join(kept))


def _step(line: str) -> float:
    """The step of a logged line; a line cut short by a kill counts as not yet logged."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
