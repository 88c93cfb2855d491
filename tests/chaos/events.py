"""What happens to a run: each event changes the process that it is called in, or the folder that a process has left."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

import cepo.runs.evaluation
import cepo.runs.run
import cepo.scoring.weights
import cepo.trainer.checkpoint
import cepo.trainer.internals
from cepo.trainer.scorer import Scorer
from cepo.trainer.stopping import StopAtStep
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["POINTS", "SIGNALS", "at_point", "clock_jump", "damage_a_file", "full_disk", "old_times"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

POINTS: dict[str, tuple[Any, str]] = {
    "generation": (CEPOTrainer, "make_batch"),
    "rewards": (CEPOTrainer, "rewarded"),
    "scoring": (Scorer, "_score"),
    "update": (CEPOTrainer, "loss_of"),
    "optimiser step": (StopAtStep, "on_pre_optimizer_step"),
    "weights of a checkpoint": (CEPOTrainer, "_save"),
    "optimiser of a checkpoint": (CEPOTrainer, "_save_optimizer_and_scheduler"),
    "random state of a checkpoint": (CEPOTrainer, "_save_rng_state"),
    "each file of torch.save": (torch, "save"),
    "teacher of a checkpoint": (cepo.scoring.weights, "save_file"),
    "mark of a checkpoint": (cepo.trainer.internals, "mark_complete"),
    "rotation": (cepo.trainer.internals, "rotate"),
    "deletion in a rotation": (cepo.trainer.checkpoint, "_delete"),
    "evaluation": (cepo.runs.evaluation, "generate_answers"),
    "generations written": (cepo.runs.evaluation, "save_generations"),
    "model written": (cepo.runs.run._Work, "_save_model"),
    "summary written": (cepo.runs.run._Work, "_conclude"),
    "folder prepared": (cepo.runs.run._Work, "_prepare"),
}
"""Named points: the process is hit as one of these is entered or left."""


def at_point(name: str, call: int, after: bool, happen: Callable[[], None]) -> None:
    """Let `happen` come over this process at the `call`-th call of a point, before it or after it."""
    owner, attribute = POINTS[name]
    ordinary, calls = getattr(owner, attribute), []

    def hit(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        now = len(calls) == call
        if now and not after:
            happen()
        done = ordinary(*arguments, **options)
        if now and after:
            happen()
        return done

    setattr(owner, attribute, hit)


def full_disk() -> None:
    """From here on no file can grow: what a full disk or a quota is to this process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def clock_jump(seconds: float) -> None:
    """The wall clock jumps, forwards or back."""
    ordinary = time.time
    time.time = lambda: ordinary() + seconds


def old_times(folder: Path, random: Random) -> None:
    """Files and folders get times of other days, in any order."""
    for path in folder.rglob("*"):
        moment = time.time() + random.uniform(-1, 1) * 86400
        os.utime(path, (moment, moment))


def damage_a_file(folder: Path, random: Random) -> Callable[[], None] | None:
    """Cut a file of the run short, or flip one of its bits; returns how to bring it back. None: there is no file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    files = [path for path in files if path.stat().st_size]
    if not files:
        return None
    file = random.choice(files)
    whole = file.read_bytes()
    if random.random() < 0.5:
        content = whole[: random.randrange(len(whole))]
    else:
        place = random.randrange(len(whole))
        content = whole[:place] + bytes([whole[place] ^ 1 << random.randrange(8)]) + whole[place + 1 :]
    file.write_bytes(content)

    def bring_back() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(whole)

    return bring_back
