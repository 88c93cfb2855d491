"""Whose weights score: the policy as it is, or an earlier self.

All but `live` and `base` keep one shadow copy of the trainable parameters (for LoRA: of the adapter only)
and swap it in while they score. Swapping is exact: what comes back is bit for bit what was there. Of sharded
parameters (FSDP2, ZeRO-3) each process copies and swaps its own shard, from which forwards gather.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cepo.errors import RunFolderError, SettingError
from cepo.scoring.shards import drop_gathered, is_sharded, local_values, trainable

__all__ = ["STATE_FILE", "TEACHER_WEIGHTS", "Part", "Teacher", "TeacherWeights", "state_file"]

TeacherWeights = Literal["live", "frozen", "synced", "ema", "base"]
TEACHER_WEIGHTS: tuple[TeacherWeights, ...] = ("live", "frozen", "synced", "ema", "base")
STATE_FILE = "cepo_teacher.safetensors"
Part = tuple[int, int]
"""(This process, all of them), where each holds a part of the weights."""
DISTURBED = 4
"""Tensors: both halves of an adapter, of two layers."""


class Teacher:
    """The weights that score, over training.

    Args:
        weights: `live`: the policy. `frozen`: the policy at the start. `synced`: a copy taken at steps
            1, 1 + N, 1 + 2N, ... `ema`: shadow <- (1 - rate) shadow + rate policy after each optimiser step.
            `base`: the model under the LoRA adapter.
        sync_every: N of `synced`, optimiser steps.
        ema_rate: rate of `ema`, in (0, 1].

    Raises:
        SettingError: an unknown kind, N < 1 or a rate outside (0, 1].
    """

    def __init__(self, weights: str = "live", *, sync_every: int = 10, ema_rate: float = 0.05) -> None:
        if weights not in TEACHER_WEIGHTS:
            raise SettingError(f"unknown teacher weights {weights!r}; choose from {', '.join(TEACHER_WEIGHTS)}")
        if sync_every < 1:
            raise SettingError(f"the teacher must be synced every 1 or more steps, got {sync_every}")
        if not 0.0 < ema_rate <= 1.0:
            raise SettingError(f"the EMA rate must lie in (0, 1], got {ema_rate}")
        self.weights = weights
        self.sync_every = sync_every
        self.ema_rate = ema_rate
        self._shadow: dict[str, Tensor] | None = None

    @property
    def keeps_copy(self) -> bool:
        """Whether this teacher holds a shadow copy of the trainable parameters."""
        return self.weights in ("frozen", "synced", "ema")

    def check(self, model: nn.Module) -> None:
        """What is needed before a first copy.

        Raises:
            SettingError: `base` without a PEFT adapter: there is nothing beneath the policy to fall back on.
        """
        if self.weights == "base" and not hasattr(model, "disable_adapter"):
            raise SettingError("teacher_weights='base' needs a LoRA adapter (peft_config) to switch off; use 'frozen'")

    def start(self, model: nn.Module) -> None:
        """Take the first copy, unless a checkpoint has given one; of weights that will be sharded, once they are.

        Raises:
            SettingError: as `check`.
        """
        self.check(model)
        if self.keeps_copy and self._shadow is None:
            self._shadow = _copy(model)

    def before_step(self, model: nn.Module, step: int) -> None:
        """`synced` copies the policy at the first step of each period; steps count from 1."""
        if self.weights == "synced" and (step - 1) % self.sync_every == 0:
            self._shadow = _copy(model)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """`ema` moves towards the policy after an optimiser step."""
        if self.weights == "ema":
            shadow = self._started()
            for name, parameter in trainable(model):
                shadow[name].lerp_(local_values(parameter), self.ema_rate)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model holds the teacher's weights."""
        if self.weights == "base":
            with cast(Any, model).disable_adapter():
                yield
        elif self.keeps_copy:
            shadow, own = self._started(), trainable(model)
            _swap(own, shadow)
            drop_gathered(model)
            try:
                yield
            finally:
                _swap(own, shadow)
                drop_gathered(model)
        else:
            with nullcontext():
                yield

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Within the block the last weights of the copy are others: what the copy scores must change."""
        last = list(self._started().values())[-DISTURBED:]
        before = [tensor.clone() for tensor in last]
        for tensor in last:
            tensor.add_(
                torch.linspace(-0.1, 0.1, tensor.numel(), device=tensor.device).view(tensor.shape).to(tensor.dtype)
            )
        try:
            yield
        finally:
            for tensor, own in zip(last, before, strict=True):
                tensor.copy_(own)

    def save(self, folder: Path, part: Part | None = None) -> None:
        """Write the shadow copy, or this process's part of it, beside a checkpoint; nothing for `live` and `base`."""
        if self._shadow is not None:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in self._shadow.items()},
                folder / state_file(part),
            )

    def load(self, folder: Path, model: nn.Module, part: Part | None = None) -> None:
        """Read the shadow copy of a checkpoint, or this process's part of it.

        Raises:
            RunFolderError: the checkpoint has none: it was written with other teacher weights, or by another number
                of processes.
            SettingError: it holds other parameters than the model trains.
        """
        if not self.keeps_copy:
            return
        file = folder / state_file(part)
        if not file.is_file():
            among = f", or not by {part[1]} processes that share the weights" if part else ""
            raise RunFolderError(
                f"{file} is missing: the checkpoint was written without teacher_weights={self.weights!r}{among}; "
                "resume with the setting it was trained with"
            )
        own = {name: local_values(parameter) for name, parameter in trainable(model)}
        stored = load_file(file)
        unlike = stored.keys() ^ own.keys() or {name for name in own if own[name].shape != stored[name].shape}
        if unlike:
            raise SettingError(
                f"{file} holds a teacher of other parameters than are trained now (such as {min(unlike)}); resume with "
                "the adapter settings it was trained with"
            )
        self._shadow = {name: tensor.to(own[name].device) for name, tensor in stored.items()}

    def _started(self) -> dict[str, Tensor]:
        if self._shadow is None:
            raise RuntimeError("the teacher has no weights yet: call start(model) first")
        return self._shadow


def state_file(part: Part | None) -> str:
    """Of a whole copy, or of a process's part."""
    return STATE_FILE if part is None else STATE_FILE.replace(".", f"_{part[0]}_of_{part[1]}.")


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: local_values(parameter).clone() for name, parameter in trainable(model)}


def _swap(own: list[tuple[str, nn.Parameter]], shadow: dict[str, Tensor]) -> None:
    """Whole parameters change places with their copies; shards, which others point into, change their values."""
    for name, parameter in own:
        if is_sharded(parameter):
            here = local_values(parameter)
            before = here.clone()
            here.copy_(shadow[name])
            shadow[name].copy_(before)
        else:
            parameter.data, shadow[name] = shadow[name], parameter.data
