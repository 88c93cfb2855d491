"""One forward of the model with its output layer read at completion positions only: in fp32, a chunk at a time.

The model runs from its outermost module, whose hooks gather sharded weights (FSDP2, ZeRO-3), while a function
stands in the output layer's place. States never leave the forward, and (B, T, V) logits never exist: chunks are
of some rows and some columns, so that on CPU they stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cepo.scoring.models import causal_model
from cepo.scoring.precision import in_fp32, replaced_forward

__all__ = ["Target", "token_logps"]

LOGITS_PER_CHUNK = 2**26
"""Numbers in one chunk of logits: 256 MB in fp32."""

LOGITS_PER_CHUNK_CPU = 2**20
"""4 MB."""

COLUMNS_PER_CHUNK = 2**14
"""Of the vocabulary."""

COLUMNS_PER_CHUNK_CPU = 2**11

SCALED_LOGITS = {"final_logit_softcapping": None, "logits_scaling": 1.0, "logit_scale": 1.0}
"""Settings of models that change the logits after the output layer, and the value that means no change."""


@dataclass(frozen=True, slots=True)
class Target:
    """A completion: its `ids` are predicted by the states of batch row `row` from position `first` on."""

    row: int
    first: int
    ids: Sequence[int]


def token_logps(
    model: nn.Module, inputs: Mapping[str, Any], targets: Sequence[Target], temperature: float
) -> tuple[list[Tensor], Any]:
    """(log-probs (T,) of each target in nats and fp32, the model's output without its logits).

    Raises:
        ValueError: a model that changes its logits after the output layer, or that never calls that layer.
    """
    inner = causal_model(model)
    config = inner.config.get_text_config()
    _refuse_scaled_logits(config)
    layer = inner.get_output_embeddings()
    read: list[list[Tensor]] = []

    def stand_in(project: Callable[[Tensor], Tensor], hidden_BSD: Tensor) -> Tensor:
        if torch.is_autocast_enabled(hidden_BSD.device.type):
            raise ValueError("the model turns autocast on by itself: its evidence would be rounded to half precision")
        with in_fp32(layer.parameters()):
            read.append(_read(layer, project, hidden_BSD, targets, temperature, config.vocab_size))
        return hidden_BSD[..., :0]

    with replaced_forward(layer, stand_in):
        output = model(**inputs)
    if not read:
        raise ValueError(f"{type(inner).__name__} does not call its output layer; its tokens cannot be scored")
    return read[0], output


def _read(
    layer: nn.Module,
    project: Callable[[Tensor], Tensor],
    hidden_BSD: Tensor,
    targets: Sequence[Target],
    temperature: float,
    vocabulary: int,
) -> list[Tensor]:
    counts = [len(target.ids) for target in targets]
    if not sum(counts):
        return [hidden_BSD.new_zeros(0, dtype=torch.float32) for _ in targets]
    hidden_ND = torch.cat(
        [hidden_BSD[t.row, t.first : t.first + count] for t, count in zip(targets, counts, strict=True)]
    ).float()
    target_N = torch.tensor([token for target in targets for token in target.ids], device=hidden_ND.device)
    on_cpu = hidden_ND.device.type == "cpu"
    limit = LOGITS_PER_CHUNK_CPU if on_cpu else LOGITS_PER_CHUNK
    columns = COLUMNS_PER_CHUNK_CPU if on_cpu else COLUMNS_PER_CHUNK
    if _is_plain(layer):
        read = partial(_by_columns, weight_VD=layer.weight, bias_V=layer.bias, columns=columns)
    else:
        columns = vocabulary
        read = partial(_by_rows, project=project)
    chunk = max(1, limit // columns)
    parts = [
        read(*pair, temperature=temperature) for pair in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True)
    ]
    return list(torch.cat(parts).split(counts))


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """A product with a whole matrix of numbers: not under an adapter, not quantised, not sharded."""
    if not isinstance(layer, nn.Linear):
        return False
    return type(layer.weight.data) is Tensor and tuple(layer.weight.shape) == (layer.out_features, layer.in_features)


def _by_columns(
    hidden_CD: Tensor,
    target_C: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    columns: int,
    temperature: float,
) -> Tensor:
    """Log-softmax at the targets, (C,), some columns of the vocabulary at a time.

    The largest logit so far is taken off before anything is summed, and the target's logit is one of the product's
    own: the roundings are those of a whole softmax.
    """
    top_C = hidden_CD.new_full((len(hidden_CD),), torch.finfo(hidden_CD.dtype).min)
    sum_C, chosen_C = torch.zeros_like(top_C), torch.zeros_like(top_C)
    for start in range(0, len(weight_VD), columns):
        here = slice(start, start + columns)
        logits = F.linear(hidden_CD, weight_VD[here], None if bias_V is None else bias_V[here])
        if temperature != 1.0:
            logits.div_(temperature)
        place_C = target_C - start
        is_here_C = (place_C >= 0) & (place_C < logits.shape[1])
        own_C = logits.gather(1, place_C.clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
        chosen_C = torch.where(is_here_C, own_C, chosen_C)
        before_C, top_C = top_C, torch.maximum(top_C, logits.amax(dim=-1))
        sum_C = sum_C * (before_C - top_C).exp() + logits.sub_(top_C[:, None]).exp_().sum(dim=-1)
    return chosen_C - top_C - sum_C.log()


def _by_rows(hidden_CD: Tensor, target_C: Tensor, project: Callable[[Tensor], Tensor], temperature: float) -> Tensor:
    """The same, (C,), with all the logits of a row at once."""
    logits_CV = project(hidden_CD).float().div_(temperature)
    return -F.cross_entropy(logits_CV, target_C, reduction="none")


def _refuse_scaled_logits(config: Any) -> None:
    for name, nothing in SCALED_LOGITS.items():
        value = getattr(config, name, nothing)
        if value not in (None, nothing):
            raise ValueError(f"{type(config).__name__} has {name}={value}: such logits cannot be scored")
