"""The model that a recipe trains."""

from __future__ import annotations

from transformers import PreTrainedModel

from cepo.models.loading import Processor, load_model
from cepo.models.vision import freeze_vision
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig

__all__ = ["load_policy"]


def load_policy(run: RunConfig, config: CEPOConfig) -> tuple[PreTrainedModel, Processor]:
    """As it is before the first step, without adapters.

    Raises:
        ModelError, SettingError: what cannot be loaded, or is not installed.
    """
    model, processor = load_model(
        run.model, run.weights_dtype, run.attn_implementation, config.trust_remote_code, in_4bit=run.load_in_4bit
    )
    if run.freeze_vision:
        freeze_vision(model)
    return model, processor
