"""What scoring asks of a model."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from torch import nn

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
    """The transformers model inside PEFT's wrapper; adapters live in its layers and stay on."""
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model  # pyright: ignore[reportCallIssue]
    return cast(CausalModel, inner)
