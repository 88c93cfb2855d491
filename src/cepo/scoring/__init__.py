"""Log-probs of given completions under given prompts: exact, without a (B, T, V) tensor, and nothing twice.

`score` is the only place where a teacher is run. It takes unpadded rows, so that no padding and no
re-tokenisation can move a number; encodes what the rows of a group have in common once, images included; and
runs the output layer in fp32 on completion positions only, in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cepo.scoring.forward import NotShareable, causal_model, hidden_of_shared, hidden_of_whole
from cepo.scoring.plan import Plan, make_plan, unique_rows
from cepo.scoring.precision import PRECISIONS, Precision, scoring_in
from cepo.scoring.rows import Images, ScoreRow

__all__ = ["PRECISIONS", "Images", "Precision", "ScoreRow", "count_forwards", "score"]

LOGITS_PER_CHUNK = 2**26
"""Numbers in one chunk of logits: 256 MB in fp32."""

TOKENS_PER_FORWARD = 8192


@torch.no_grad()
def score(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    *,
    width: int,
    temperature: float = 1.0,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    image_token_id: int | None = None,
    precision: Precision = "tf32",
    forwards: int | None = None,
) -> Float[Tensor, "B T"]:
    """log pi(y_t | prompt, y_<t) of every completion token, in nats, fp32.

    Args:
        model: a transformers causal or image-text model, wrapped by nothing but PEFT.
        rows: what to score; each has a prompt of one token at least.
        width: T of the result; rows are padded on the right with 0.
        temperature: divides the logits, as in the student's own log-probs.
        tokens_per_forward: padded tokens of one forward, prefixes included; bounds the memory.
        image_token_id: the placeholder's id; needed when rows have images.
        precision: of the evidence, whatever the training runs in; see `Precision`.
        forwards: run this many forwards at least (sharded weights: every rank must run equally many, see
            `count_forwards`). A rank without rows of its own passes any row as `rows` and ignores the result.

    Raises:
        ValueError: an empty prompt, a completion longer than `width`, images without `image_token_id`, an
            unknown precision.
    """
    _check(rows, width, image_token_id)
    kept, place = unique_rows(rows)
    unique = [rows[index] for index in kept]
    plan = make_plan(unique, tokens_per_forward, image_token_id)
    logp_UT = torch.zeros(len(unique), width, device=next(model.parameters()).device)
    with scoring_in(model, precision):
        for states in _all_states(model, unique, plan, image_token_id):
            _fill(logp_UT, model, unique, states, temperature)
        for _ in range(plan.forwards, forwards or 0):
            hidden_of_whole(model, unique[:1], image_token_id)
    return logp_UT[place]


def count_forwards(
    rows: Sequence[ScoreRow], *, tokens_per_forward: int = TOKENS_PER_FORWARD, image_token_id: int | None = None
) -> int:
    """How many forwards `score` would run on these rows; the largest over ranks is what `forwards` is for."""
    return make_plan([rows[i] for i in unique_rows(rows)[0]], tokens_per_forward, image_token_id).forwards


def _check(rows: Sequence[ScoreRow], width: int, image_token_id: int | None) -> None:
    for index, row in enumerate(rows):
        if not row.prompt_ids:
            raise ValueError(f"row {index} to score has an empty prompt; its first token has no log-prob")
        if len(row.completion_ids) > width:
            raise ValueError(f"row {index} has {len(row.completion_ids)} completion tokens, but width is {width}")
        if row.images is not None and image_token_id is None:
            raise ValueError(f"row {index} has images, but no image_token_id was given")


def _all_states(
    model: nn.Module, rows: Sequence[ScoreRow], plan: Plan, image_token_id: int | None
) -> Iterable[dict[int, Tensor]]:
    """Row index -> states (T, D), some rows at a time."""
    for batch in plan.shared:
        try:
            yield hidden_of_shared(model, rows, batch, image_token_id)
        except NotShareable:
            for members in batch.batches:
                states = hidden_of_whole(model, [rows[index] for index in members], image_token_id)
                yield dict(zip(members, states, strict=True))
    for members in plan.whole:
        states = hidden_of_whole(model, [rows[index] for index in members], image_token_id)
        yield dict(zip(members, states, strict=True))


def _fill(
    logp_UT: Tensor, model: nn.Module, rows: Sequence[ScoreRow], states: dict[int, Tensor], temperature: float
) -> None:
    """The output layer on the states, and its log-probs to their places."""
    targets = torch.tensor([t for index in states for t in rows[index].completion_ids], device=logp_UT.device)
    if not len(targets):
        return
    logp_N = _token_logps(model, torch.cat(list(states.values())), targets, temperature)
    taken = 0
    for index in states:
        count = len(rows[index].completion_ids)
        logp_UT[index, :count] = logp_N[taken : taken + count]
        taken += count


def _token_logps(model: nn.Module, hidden_ND: Tensor, target_N: Tensor, temperature: float) -> Tensor:
    inner = causal_model(model)
    head = inner.get_output_embeddings()
    chunk = max(1, LOGITS_PER_CHUNK // inner.config.get_text_config().vocab_size)
    parts = []
    for hidden_CD, target_C in zip(hidden_ND.split(chunk), target_N.split(chunk), strict=True):
        logits_CV = head(hidden_CD).float().div_(temperature)
        parts.append(-F.cross_entropy(logits_CV, target_C, reduction="none"))
    return torch.cat(parts)
