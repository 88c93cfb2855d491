"""The vision tower of a model, which reinforcement learning often leaves as it is."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from cepo.errors import SettingError

__all__ = ["adapters_outside", "freeze_vision"]


def freeze_vision(model: PreTrainedModel) -> None:
    """Leave the vision tower untrained: its parameters ask for no gradient.

    Raises SettingError: the model has none.
    """
    _tower(model)[1].requires_grad_(False)


def adapters_outside(model: PreTrainedModel) -> str:
    """PEFT's `exclude_modules` for adapters outside of the vision tower. Raises SettingError: the model has none."""
    return re.escape(_tower(model)[0]) + r"\..*"


def _tower(model: PreTrainedModel) -> tuple[str, nn.Module]:
    found = model.get_encoder("image")
    for name, module in model.named_modules():
        if module is found and module is not model:  # where it has none, transformers hands back the model
            return name, module
    kind = type(model).__name__
    raise SettingError(f"freeze_vision: {kind} has no vision tower that transformers knows of; leave the field out")
