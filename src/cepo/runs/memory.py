"""How much memory a training takes at its peak: arithmetic, checked against measured peaks (`benchmarks/memory.py`).

A step has three phases, and its peak is that of the hungriest: generation (keys and values of every rollout),
scoring (those of one forward, in fp32) and update (gradients and saved activations), each on top of what stays:
weights, the optimizer's state, and a teacher's copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cepo.scoring import LOGITS_PER_CHUNK

__all__ = ["GIB", "Load", "Memory", "ModelShape", "peak_memory", "shape_of"]

GIB = 2**30
FP32 = 4

ADAM = 2
"""Numbers that AdamW keeps of each trained one, in its dtype."""

TILE = (4096, 32768)
"""Tokens and columns of the logits that TRL's loss makes at once."""

TILES_WITHOUT_KERNELS = 8
"""Of the loss's logits that are alive together where it has no Triton kernels, which work in place."""

SOFTMAXES = 3
"""Of logits that are alive together elsewhere: the product, and what a softmax makes of it."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory and time depend on. Numbers of the language model; `parameters` are of all parts."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def queries(self) -> int:
        """Width of the queries of a token."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of the keys of a token, and of its values."""
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """Of one layer's products."""
        return self.hidden * (2 * self.queries + 2 * self.keys + 3 * self.intermediate)

    def lora_parameters(self, rank: int) -> int:
        """Adapters on every linear layer: rank x (inputs + outputs) each."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.intermediate))


@dataclass(frozen=True, slots=True)
class Load:
    """What a training puts on one process.

    Attributes:
        rows: rollouts that are generated together.
        micro_rows: rows of one forward and backward of the update.
        prompt, completion: tokens, at most.
        weight_bytes: of a weight, a gradient and an activation: 4, or 2 in bf16.
        lora_rank: None: all weights are trained.
        packed_bytes: of a layer's weight that is kept in 4 bits; None: they are like the others.
        keeps_copy: whether a teacher keeps a copy of what is trained.
        tokens_per_forward: `score_tokens_per_forward`; 0: nothing is scored.
        has_checkpoints: gradient checkpointing.
        shards: processes that share weights, gradients and optimizer (FSDP2, ZeRO-3).
        logits_per_chunk: numbers in a chunk of the scoring's output layer.
        has_kernels: whether TRL's loss runs its Triton kernels, as on GPUs.
    """

    rows: int
    micro_rows: int
    prompt: int
    completion: int
    weight_bytes: int = 2
    lora_rank: int | None = None
    packed_bytes: float | None = None
    keeps_copy: bool = False
    tokens_per_forward: int = 8192
    has_checkpoints: bool = False
    shards: int = 1
    logits_per_chunk: int = LOGITS_PER_CHUNK
    has_kernels: bool = True

    @property
    def length(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what stays by name, and what each phase takes beside it."""

    stays: dict[str, int]
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        return sum(self.stays.values()) + max(self.phases.values())

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=self.phases.__getitem__)

    def peak_of(self, phase: str) -> int:
        return sum(self.stays.values()) + self.phases[phase]


def peak_memory(shape: ModelShape, load: Load) -> Memory:
    """Of one process, at a step after the first."""
    trained, trained_bytes = shape.parameters, load.weight_bytes
    if load.lora_rank:
        trained, trained_bytes = shape.lora_parameters(load.lora_rank), FP32  # PEFT keeps adapters in fp32
    state = trained * trained_bytes // load.shards
    adapters = trained * trained_bytes if load.lora_rank else 0
    stays = {
        "weights": (_weights(shape, load) + adapters) // load.shards,
        "optimizer": ADAM * state,
        "teacher's copy": state if load.keeps_copy else 0,
    }
    gathered = _gathered(shape, load)
    phases = {
        "generation": gathered + _generation(shape, load),
        "scoring": gathered + _scoring(shape, load) if load.tokens_per_forward else 0,
        "update": gathered + _update(shape, load, state),
    }
    return Memory(stays, phases)


def _weights(shape: ModelShape, load: Load) -> int:
    """Of the model itself: embeddings, output layer, norms and what is not the language model's stay as they are."""
    packed = 0 if load.packed_bytes is None else min(shape.layers * shape.layer_parameters, shape.parameters)
    return round(packed * (load.packed_bytes or 0)) + (shape.parameters - packed) * load.weight_bytes


def _gathered(shape: ModelShape, load: Load) -> int:
    """Whole weights of two layers (one runs, the next is fetched) and of the embedding, where weights are sharded."""
    if load.shards == 1:
        return 0
    return load.weight_bytes * (2 * shape.layer_parameters + shape.hidden * shape.vocabulary)


def _generation(shape: ModelShape, load: Load) -> int:
    """Keys and values of all rows, one layer of them twice while they grow; the logits that are sampled from."""
    kept = 2 * shape.keys * load.weight_bytes * load.rows * load.length
    sampled = SOFTMAXES * FP32 * load.rows * shape.vocabulary
    prefill = load.rows * load.prompt * load.weight_bytes * _passing(shape)
    return kept * shape.layers + max(kept + sampled, prefill)


def _scoring(shape: ModelShape, load: Load) -> int:
    """Keys and values that one forward's rows continue from, in fp32; what passes through a layer; a chunk of logits.

    Of half precision, one layer and the output layer are fp32 too while they run.
    """
    kept = 2 * shape.keys * FP32 * load.tokens_per_forward
    longest = min(load.completion, load.tokens_per_forward)
    fresh = load.tokens_per_forward * longest // load.length
    turned = 0 if load.weight_bytes == FP32 else FP32 * (shape.layer_parameters + shape.hidden * shape.vocabulary)
    passing = fresh * FP32 * _passing(shape) + 2 * FP32 * load.tokens_per_forward * shape.queries
    return kept * shape.layers + turned + max(passing, SOFTMAXES * FP32 * load.logits_per_chunk)


def _passing(shape: ModelShape) -> int:
    """Numbers of a token alive at once in a forward without gradient: within the wider half of a layer."""
    return 3 * shape.hidden + max(3 * shape.intermediate, 3 * shape.queries)


def _update(shape: ModelShape, load: Load, gradients: int) -> int:
    """A micro-batch's saved activations, which its backward gives up layer by layer, and gradients, which it makes so.

    Most is alive at the backward's start, with the output layer's logits or what passes through the last layer (with
    checkpoints after it has run again); or at its end. Gradients of earlier micro-batches are there all the time.
    """
    token = load.weight_bytes * load.micro_rows * load.length
    layer, passing = token * _saved(shape), token * _passing(shape)
    kept = shape.layers * (token * shape.hidden if load.has_checkpoints else layer)
    again = layer if load.has_checkpoints else 0
    earlier = gradients if load.rows > load.micro_rows else 0
    return max(earlier + kept + max(_head(shape, load), again + passing), gradients + layer + passing)


def _head(shape: ModelShape, load: Load) -> int:
    """What the loss's output layer takes: logits of some tokens and columns, and its gradient in fp32."""
    tokens = min(load.micro_rows * load.length, TILE[0])
    columns = TILE[1] if load.has_kernels else TILES_WITHOUT_KERNELS * min(TILE[1], shape.vocabulary)
    gradient = 0 if load.lora_rank else FP32 * shape.hidden * shape.vocabulary
    return load.weight_bytes * tokens * columns + gradient


def _saved(shape: ModelShape) -> int:
    """Numbers of a token that one layer keeps for its backward.

    Two norms: input, normed and output each. Queries before and after their norm and rotation, what attention gives,
    twice, and keys and values once for each query's head (rows of different lengths need a mask, with which they are
    repeated); keys before and after their norm. The MLP: gate, its activation, up and their product.
    """
    attention = 6 * shape.queries + 2 * shape.keys
    return 6 * shape.hidden + attention + 4 * shape.intermediate


def shape_of(config: Any, parameters: int) -> ModelShape:
    """Of a transformers config."""
    text = config.get_text_config()
    return ModelShape(
        parameters=parameters,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
    )
