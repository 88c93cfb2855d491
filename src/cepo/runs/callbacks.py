"""What a run shows and keeps while it trains: one progress bar, and every logged number as JSONL."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from cepo.runs.folder import write_atomically
from cepo.trainer.checkpoint import writing

__all__ = ["MetricsFile", "Progress"]

_Logs = Mapping[str, float] | None
SHOWN = {"reward": "reward", "entropy": "entropy", "credit/lambda": "lambda"}


class MetricsFile(TrainerCallback):
    """Appends everything that TRL logs to a JSONL file; a resumed run first drops what it will log again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = 0

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        self._from = state.global_step
        if state.is_world_process_zero and self.path.exists() and state.global_step < state.max_steps:
            kept = [
                line
                for line in self.path.read_text(errors="replace").splitlines(keepends=True)
                if _step(line) <= state.global_step
            ]
            write_atomically(self.path, "".join(kept))

    def on_log(self, args: object, state: TrainerState, control: object, logs: _Logs = None, **kwargs: object) -> None:
        if state.is_world_process_zero and logs and (state.global_step > self._from or not self._from):
            with writing(self.path), self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}, default=str) + "\n")


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


def _step(line: str) -> float:
    """The step of a logged line; a line cut short by a kill counts as not yet logged."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")
