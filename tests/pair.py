"""Two processes of one run on this machine, forked from this one: they meet over gloo, as a launcher's would.

A fork costs no imports. Where one process ends in an error the other gets one from gloo; one that waits for longer
than `seconds` hangs, and is ended.
"""

from __future__ import annotations

import atexit
import faulthandler
import multiprocessing
import os
import pickle
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

__all__ = ["Outcome", "Sharding", "on_two"]

Sharding = Literal["ddp", "fsdp2", "zero3"]


@dataclass(frozen=True)
class Outcome:
    """What came of a process: what the work returned, or the error's text; neither: it hung."""

    value: Any = None
    error: str = ""
    hung: bool = False


def on_two(
    work: Callable[[int, Path], Any], folder: Path, sharding: Sharding = "ddp", seconds: float = 120.0
) -> list[Outcome]:
    """`work(rank, folder)` on both, and what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    port, context = _free_port(), multiprocessing.get_context("fork")
    both = [context.Process(target=_alone, args=(work, rank, folder, port, sharding, seconds)) for rank in (0, 1)]
    for process in both:
        process.start()
    deadline = time.monotonic() + seconds
    for process in both:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [process.is_alive() for process in both]
    for process in both:
        process.kill()
        process.join()
    return [_outcome(folder, rank, process.exitcode, hung[rank]) for rank, process in enumerate(both)]


def _outcome(folder: Path, rank: int, code: int | None, hung: bool) -> Outcome:
    file = folder / f"outcome-{rank}"
    if hung:
        return Outcome(hung=True, error=_said(folder, rank))
    if not file.is_file():
        return Outcome(error=f"died with {code}: {_said(folder, rank)}")
    return pickle.loads(file.read_bytes())


def _said(folder: Path, rank: int) -> str:
    return (folder / f"said-{rank}").read_text(errors="replace")[-4000:]


def _alone(
    work: Callable[[int, Path], Any], rank: int, folder: Path, port: int, sharding: Sharding, seconds: float
) -> None:
    atexit._clear()
    warnings.resetwarnings()
    for stream in (1, 2):
        os.dup2(os.open(folder / f"said-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    faulthandler.dump_traceback_later(seconds * 0.9, file=2)  # a hang says where
    AcceleratorState._reset_state(True)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    os.environ["DS_ACCELERATOR" if sharding == "zero3" else "ACCELERATE_USE_CPU"] = (
        "cpu" if sharding == "zero3" else "true"
    )
    if sharding == "fsdp2":
        _fsdp2()
    try:
        outcome, code = Outcome(work(rank, folder)), 0
    except BaseException:
        outcome, code = Outcome(error=traceback.format_exc()), 1
    (folder / f"outcome-{rank}").write_bytes(pickle.dumps(outcome))
    os._exit(code)


def _fsdp2() -> None:
    """As `recipes/accelerate/fsdp2.yaml` has it; accelerate itself knows FSDP on accelerators only."""
    os.environ.update(
        ACCELERATE_USE_FSDP="true", FSDP_VERSION="2", FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_RESHARD_AFTER_FORWARD="true", FSDP_STATE_DICT_TYPE="SHARDED_STATE_DICT", FSDP_OFFLOAD_PARAMS="false",
        FSDP_CPU_RAM_EFFICIENT_LOADING="false", FSDP_ACTIVATION_CHECKPOINTING="false",
    )  # fmt: skip
    ordinary = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        ordinary(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        self.fsdp_plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
        self.distributed_type = DistributedType.FSDP

    AcceleratorState.__init__ = init


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
