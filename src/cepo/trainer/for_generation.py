"""The policy as TRL generates with it, for evaluations by the trainer's own processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, cast

from transformers import PreTrainedModel
from trl.models import unwrap_model_for_generation

from cepo.trainer.internals import HostTrainer

__all__ = ["policy_for_generation"]


@contextmanager
def policy_for_generation(trainer: HostTrainer) -> Iterator[PreTrainedModel]:
    """Within the block the policy as TRL generates with it (a collective call).

    Its forwards are collective where weights are sharded: also under ZeRO-3, which gathers them whole for the block,
    since its hook at a forward's start compares the processes.
    """
    settings = cast(Any, trainer.args)
    options: dict[str, Any] = {"gather_deepspeed3_params": settings.ds3_gather_for_generation}
    if "gradient_checkpointing_kwargs" in signature(unwrap_model_for_generation).parameters:  # TRL 1.16
        options["gradient_checkpointing_kwargs"] = settings.gradient_checkpointing_kwargs
    gathered = unwrap_model_for_generation(cast(Any, trainer.model_wrapped), trainer.accelerator, **options)
    with gathered as model:
        yield cast(PreTrainedModel, model)
