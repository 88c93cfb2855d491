"""Log-probs of given completions under given prompts: exact, without a (B, T, V) tensor, and nothing twice.

`score` is the only place where a teacher is run. It takes unpadded rows, so that no padding and no
re-tokenisation can move a number; encodes what the rows of a group have in common once, images included; and
runs the output layer in fp32 on completion positions only, in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cepo.scoring.forward import continues_from_prefixes, run_plan
from cepo.scoring.head import LOGITS_PER_CHUNK, LOGITS_PER_CHUNK_CPU, Quantity, Reading
from cepo.scoring.lengths import turning_length
from cepo.scoring.logits import logits_map
from cepo.scoring.models import causal_model
from cepo.scoring.plan import WORTH_A_FORWARD, Forwards, Plan, make_plan, unique_rows
from cepo.scoring.precision import PRECISIONS, Precision, scoring_in
from cepo.scoring.rows import Images, OtherImages, RowImages, ScoreRow
from cepo.scoring.shards import whole_size

__all__ = [
    "LOGITS_PER_CHUNK", "LOGITS_PER_CHUNK_CPU", "PRECISIONS", "Forwards", "Images", "OtherImages", "Precision",
    "RowImages", "ScoreRow", "count_forwards", "score",
]  # fmt: skip

TOKENS_PER_FORWARD = 8192

WORTH_A_FORWARD_CPU = 64
"""Tokens that take as long as a forward's launch on CPU, where small products are as fast as large ones; at least."""

WORTH_A_LAYER_CPU = 3e7
"""FLOP that a core does while Python goes through a layer (1.5 ms at 20 GFLOP/s), most of a small model's forward."""


@torch.no_grad()
def score(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    *,
    width: int,
    temperature: float = 1.0,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    image_token_id: int | None = None,
    precision: str = "tf32",
    forwards: Forwards | None = None,
    quantity: Quantity = "logp",
    share: bool = True,
) -> Float[Tensor, "B T"]:
    """log pi(y_t | prompt, y_<t) of every completion token, in nats, fp32.

    Args:
        model: a transformers causal or image-text model, under PEFT or not, sharded by FSDP2 or ZeRO-3 or not;
            not wrapped by DDP.
        rows: what to score; each has a prompt of one token at least. May be empty.
        width: T of the result; rows are padded on the right with 0.
        temperature: divides the logits, as in the student's own log-probs.
        tokens_per_forward: padded tokens of one forward, prefixes included; bounds the memory.
        image_token_id: the placeholder's id; needed when rows have images.
        precision: of the evidence, whatever the training runs in; see `Precision`.
        forwards: run this many forwards at least. Where weights are sharded every process must run equally many
            with images and without, in the same order: the largest `count_forwards` of all processes.
        quantity: `logp`; or `entropy`: of the distribution at each token, nats, in place of its log-prob.
        share: False: encode every row whole, also where a group's rows begin alike.

    Raises:
        ValueError: an empty prompt, a completion longer than `width`, images without `image_token_id`, an
            unknown precision, FSDP version 1.
        ModelError: a model that does to its logits what is neither a scale nor a soft cap; prompt learning.
    """
    _check(rows, width, image_token_id)
    kept, place = unique_rows(rows)
    unique = [rows[index] for index in kept]
    plan = _plan(model, unique, tokens_per_forward, image_token_id, share)
    logp_UT = torch.zeros(len(unique), width, device=next(model.parameters()).device)
    with scoring_in(model, precision):
        reading = Reading(temperature, quantity, logits_map(model))
        for found in run_plan(model, unique, plan, forwards, image_token_id, reading):
            for index, logp_T in found.items():
                logp_UT[index, : len(logp_T)] = logp_T
    return logp_UT[place]


def count_forwards(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    *,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    image_token_id: int | None = None,
    share: bool = True,
) -> Forwards:
    """How many forwards `score` would run on these rows, with images and without: two counts to take maxima of."""
    unique = [rows[index] for index in unique_rows(rows)[0]]
    return _plan(model, unique, tokens_per_forward, image_token_id, share).forwards


def _plan(
    model: nn.Module, rows: Sequence[ScoreRow], tokens_per_forward: int, image_token_id: int | None, share: bool
) -> Plan:
    on_cpu = next(model.parameters()).device.type == "cpu"
    return make_plan(
        rows,
        tokens_per_forward,
        image_token_id,
        share=share and continues_from_prefixes(model),
        launch=_launch_on_cpu(model) if on_cpu else WORTH_A_FORWARD,
        turning=turning_length(model),
    )


def _launch_on_cpu(model: nn.Module) -> int:
    """What a forward's launch costs on a CPU, in tokens of this model."""
    layers = getattr(causal_model(model).config.get_text_config(), "num_hidden_layers", 1)
    per_token = 2 * sum(map(whole_size, model.parameters()))
    return max(WORTH_A_FORWARD_CPU, round(WORTH_A_LAYER_CPU * layers / per_token))


def _check(rows: Sequence[ScoreRow], width: int, image_token_id: int | None) -> None:
    for index, row in enumerate(rows):
        if not row.prompt_ids:
            raise ValueError(f"row {index} to score has an empty prompt; its first token has no log-prob")
        if len(row.completion_ids) > width:
            raise ValueError(f"row {index} has {len(row.completion_ids)} completion tokens, but width is {width}")
        if row.images is not None and image_token_id is None:
            raise ValueError(f"row {index} has images, but no image_token_id was given")
