"""What scoring asks of a model."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from torch import nn

from cepo.errors import ModelError

__all__ = ["CausalModel", "ModelInputs", "causal_model"]


ModelInputs: TypeAlias = dict[str, Any]
"""What a forward is given, by name."""


@runtime_checkable
class CausalModel(Protocol):
    """A transformers model: the transformer and the output layer, separately."""

    base_model: Any
    config: Any

    def get_output_embeddings(self) -> Any: ...


def causal_model(model: nn.Module) -> CausalModel:
    """The transformers model inside PEFT's wrapper; adapters live in its layers and stay on.

    Raises:
        ModelError: prompt, prefix or p-tuning: what they add stands outside of the model's layers.
    """
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and adapter.is_prompt_learning:
        raise ModelError(
            f"peft_type={adapter.peft_type.value} puts virtual tokens before every prompt, which teachers would be "
            "scored without; use LoRA, or method='grpo'"
        )
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model  # pyright: ignore[reportCallIssue]
    return cast(CausalModel, inner)
