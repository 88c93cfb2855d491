"""What scoring asks of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from torch import nn

from cepo.errors import ModelError

__all__ = ["CausalModel", "ModelInputs", "causal_model", "output_layer"]


ModelInputs: TypeAlias = dict[str, Any]
"""What a forward is given, by name."""


@runtime_checkable
class CausalModel(Protocol):
    """A transformers model: the transformer and the output layer, separately."""

    base_model: Any
    config: Any

    def get_output_embeddings(self) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...


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


def output_layer(model: nn.Module) -> Any:
    """The layer that turns states into logits: the model's own, else that of a whole text model inside it.

    Raises:
        ModelError: there is none.
    """
    inner = causal_model(model)
    for part in inner.modules():
        ask = getattr(part, "get_output_embeddings", None)
        if ask is not None and (layer := ask()) is not None:
            return layer
    raise ModelError(
        f"{type(inner).__name__} names no output layer (get_output_embeddings gives None): its tokens cannot be "
        "scored; use method='grpo' with it"
    )
