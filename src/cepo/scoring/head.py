"""One forward of the model with its output layer read at completion positions only: in fp32, a chunk at a time.

The model runs from its outermost module, whose hooks gather sharded weights (FSDP2, ZeRO-3), while a function
stands in the output layer's place. States never leave the forward, and (B, T, V) logits never exist: chunks are
of some rows and some columns, so that on CPU they stay in its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cepo.errors import ModelError
from cepo.scoring.logits import LogitsMap
from cepo.scoring.models import ModelInputs, causal_model, output_layer
from cepo.scoring.precision import in_fp32, replaced_forward, tf32_products

__all__ = ["Quantity", "Reading", "Target", "captured_states", "read_tokens"]

LOGITS_PER_CHUNK = 2**26
"""Numbers in one chunk of logits: 256 MB in fp32."""

LOGITS_PER_CHUNK_CPU = 2**20
"""4 MB."""

COLUMNS_PER_CHUNK = 2**14
"""Of the vocabulary."""

COLUMNS_PER_CHUNK_CPU = 2**11

Quantity = Literal["logp", "entropy"]
"""What is read at a token: log-prob of the token that stands there, or entropy of the distribution; both in nats."""


class Reading(NamedTuple):
    """What is read; the temperature that divides the logits; what the model does to them before."""

    temperature: float = 1.0
    quantity: Quantity = "logp"
    logits_map: LogitsMap = LogitsMap()

    def logits(self, projected: Tensor) -> Tensor:
        """Logits whose softmax is sampled from, of what the output layer gives."""
        logits = self.logits_map(projected)
        return logits if self.temperature == 1.0 else logits / self.temperature


@dataclass(frozen=True, slots=True)
class Target:
    """A completion: its `ids` are predicted by the states of batch row `row` from position `first` on."""

    row: int
    first: int
    ids: Sequence[int]


def read_tokens(
    model: nn.Module, inputs: ModelInputs, targets: Sequence[Target], reading: Reading
) -> tuple[list[Tensor], Any]:
    """(what is read of each target's tokens (T,), nats, fp32; the model's output without its logits).

    Raises:
        ModelError: a model that never calls its output layer, or that turns autocast on by itself.
    """
    inner = causal_model(model)
    config = inner.config.get_text_config()
    layer = output_layer(model)
    read: list[list[Tensor]] = []

    def stand_in(project: Callable[[Tensor], Tensor], hidden_BSD: Tensor) -> Tensor:
        if torch.is_autocast_enabled(hidden_BSD.device.type):
            raise ModelError("the model turns autocast on by itself: its evidence would be rounded to half precision")
        with _products(hidden_BSD, layer), in_fp32(layer.parameters()):
            read.append(_read(layer, project, hidden_BSD, targets, reading, config.vocab_size))
        return hidden_BSD[..., :0]

    with replaced_forward(layer, stand_in):
        output = model(**inputs)
    if not read:
        raise ModelError(f"{type(inner).__name__} does not call its output layer; its tokens cannot be scored")
    return read[0], output


@contextmanager
def captured_states(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block a forward puts the states (B, S, D) that reach the output layer into the list, with gradient.

    The layer itself is not computed: the model's logits have no columns. They depend on the layer's weights all the
    same, in name: DDP looks there for what a step will give gradients to.
    """
    states: list[Tensor] = []
    layer = output_layer(model)

    def stand_in(_project: Callable[[Tensor], Tensor], hidden_BSD: Tensor) -> Tensor:
        states.append(hidden_BSD)
        trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        return hidden_BSD[..., :0] + sum(parameter.flatten()[:0].sum() for parameter in trained)

    with replaced_forward(layer, stand_in):
        yield states


def _read(
    layer: nn.Module,
    project: Callable[[Tensor], Tensor],
    hidden_BSD: Tensor,
    targets: Sequence[Target],
    reading: Reading,
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
        read = partial(_by_columns, layer=layer, columns=columns, reading=reading)
    else:
        columns = vocabulary
        read = partial(_by_rows, project=project, reading=reading)
    chunk = max(1, limit // columns)
    parts = [read(*pair) for pair in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True)]
    return list(torch.cat(parts).split(counts))


def _products(hidden_BSD: Tensor, layer: nn.Module) -> AbstractContextManager[None]:
    """TF32 where states and weights have 16 bits, of which it rounds nothing, several times as fast; else as set."""
    numbers = [hidden_BSD, *layer.parameters()]
    exact = all(one.dtype in (torch.bfloat16, torch.float16) for one in numbers)
    return tf32_products(True) if exact else nullcontext()


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """A product with a whole matrix of numbers: not under an adapter, not quantised, not sharded."""
    if not isinstance(layer, nn.Linear):
        return False
    return type(layer.weight.data) is Tensor and tuple(layer.weight.shape) == (layer.out_features, layer.in_features)


def _by_columns(hidden_CD: Tensor, target_C: Tensor, layer: nn.Linear, columns: int, reading: Reading) -> Tensor:
    """Log-softmax at the targets, or entropy, (C,), some columns of the vocabulary at a time.

    The largest logit so far is taken off before anything is summed, and the target's logit is one of the product's
    own: the roundings are those of a whole softmax.
    """
    top_C = hidden_CD.new_full((len(hidden_CD),), torch.finfo(hidden_CD.dtype).min)
    sum_C, chosen_C, weighed_C = torch.zeros_like(top_C), torch.zeros_like(top_C), torch.zeros_like(top_C)
    for start in range(0, len(layer.weight), columns):
        here = slice(start, start + columns)
        logits = F.linear(hidden_CD, layer.weight[here], None if layer.bias is None else layer.bias[here])
        logits = reading.logits(logits)
        place_C = target_C - start
        is_here_C = (place_C >= 0) & (place_C < logits.shape[1])
        own_C = logits.gather(1, place_C.clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
        chosen_C = torch.where(is_here_C, own_C, chosen_C)
        before_C, top_C = top_C, torch.maximum(top_C, logits.amax(dim=-1))
        shrink_C = (before_C - top_C).exp()
        logits.sub_(top_C[:, None])
        if reading.quantity == "entropy":
            moved_C = (before_C - top_C) * sum_C
            weighed_C = shrink_C * (weighed_C + moved_C) + (logits.exp() * logits).sum(dim=-1)
        sum_C = sum_C * shrink_C + logits.exp_().sum(dim=-1)
    if reading.quantity == "entropy":
        return sum_C.log() - weighed_C / sum_C
    return chosen_C - top_C - sum_C.log()


def _by_rows(hidden_CD: Tensor, target_C: Tensor, project: Callable[[Tensor], Tensor], reading: Reading) -> Tensor:
    """The same, (C,), with all the logits of a row at once."""
    logits_CV = reading.logits(project(hidden_CD).float())
    if reading.quantity == "entropy":
        logp_CV = logits_CV.log_softmax(dim=-1)
        return -(logp_CV.exp() * logp_CV).sum(dim=-1)
    return -F.cross_entropy(logits_CV, target_C, reduction="none")
