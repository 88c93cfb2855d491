"""What a model does to its logits after the output layer, measured instead of looked up.

Models scale their logits (Granite, Cohere, Falcon-H1) or cap them (Gemma), each under names of its own. Scoring
reads the output layer apart and must do the same. So the layer is made to give known numbers once, in a forward of
two tokens, and what becomes of them tells the function: z, a z, or c tanh(a z / c). Any other is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cepo.errors import ModelError
from cepo.scoring.models import causal_model, output_layer
from cepo.scoring.precision import replaced_forward

__all__ = ["LogitsMap", "logits_map"]

FAR = 2.0**40
"""A logit beyond every cap; a power of two, so that a scale is read without rounding."""

REACH = 100.0
"""The function is checked from minus this to this."""

RELATIVE_ERROR = 1e-5


class LogitsMap(NamedTuple):
    """z -> scale z; with a `cap`, cap tanh(scale z / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Float[Tensor, "... V"]) -> Float[Tensor, "... V"]:
        if self.cap is not None:
            return (logits * (self.scale / self.cap)).tanh() * self.cap
        return logits if self.scale == 1.0 else logits * self.scale


_measured: WeakKeyDictionary[nn.Module, LogitsMap] = WeakKeyDictionary()


@torch.no_grad()
def logits_map(model: nn.Module) -> LogitsMap:
    """What `model` does to its logits; one forward of two tokens the first time (a collective call if sharded).

    Raises:
        ModelError: it does what is neither a scale nor a soft cap, or never calls its output layer.
    """
    inner: nn.Module = causal_model(model)  # pyright: ignore[reportAssignmentType]
    if inner not in _measured:
        given, found = _measure(model)
        fitted = _fitted(given, found)
        if fitted is None:
            raise ModelError(
                f"{type(inner).__name__} changes its logits after the output layer in a way that is neither a scale "
                "nor a soft cap: its log-probs cannot be read from that layer; use method='grpo' with it"
            )
        _measured[inner] = fitted
    return _measured[inner]


def _measure(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Known logits (V,), and what the model gives in their place (V,)."""
    inner = causal_model(model)
    layer = output_layer(model)
    size = getattr(layer, "out_features", inner.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    given = torch.linspace(-REACH, REACH, size, device=device)
    given[:4] = torch.tensor([FAR, -FAR, 0.0, 1.0], device=device)

    def stand_in(_project: Callable[[Tensor], Tensor], hidden_BSD: Tensor) -> Tensor:
        return given.expand(*hidden_BSD.shape[:-1], size).clone()

    ids = torch.zeros(1, 2, dtype=torch.long, device=device)
    with replaced_forward(layer, stand_in):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return given, output.logits[0, -1].float()


def _fitted(given: Tensor, found: Tensor) -> LogitsMap | None:
    """None: no function of the family. One number added to all of them leaves a distribution as it is."""
    if found.shape != given.shape or not found.isfinite().all():
        return None
    found = found - found[2]
    far, near = found[0].item(), found[3].item()
    if abs(far) >= FAR / 2 * abs(near):
        fitted = LogitsMap(far / FAR)
    else:
        cap = far
        fitted = LogitsMap(cap * math.atanh(near / cap), cap) if abs(near) < abs(cap) else None
    if fitted is None or fitted.scale <= 0.0:
        return None
    error = (fitted(given[1:]) - found[1:]).abs() / (1.0 + given[1:].abs() * fitted.scale)
    return fitted if bool((error < RELATIVE_ERROR).all()) else None
