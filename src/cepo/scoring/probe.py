"""One probe before anything is generated: what `score` gives against the log-softmax of the model's own forward.

No list of architectures is kept. Two prompts of two lengths are scored as a run scores them, and a row at a time by
the model itself. What does not agree is refused, with the kind of module that is likely to blame; where only
shared prefixes disagree, rows are scored whole.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cepo.errors import CepoError, ModelError
from cepo.scoring import score
from cepo.scoring.forward import continues_from_prefixes, read_whole, vision_inputs
from cepo.scoring.head import Reading
from cepo.scoring.logits import logits_map
from cepo.scoring.models import causal_model
from cepo.scoring.precision import Precision, scoring_in
from cepo.scoring.rows import ScoreRow
from cepo.scoring.watch import first_difference, half_precision

__all__ = ["BOUND", "ROUNDING_BOUND", "Agreement", "own_logps", "padding_moves", "probe"]

BOUND = 1e-4
"""Nats between two ways to compute a log-prob in fp32, and as much again for every ten nats of the log-prob itself."""

ROUNDING_BOUND = 0.25
"""Nats, on average over tokens, between the run's own precision and fp32: more is no rounding of bf16."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the probe found.

    Attributes:
        shares: whether rows may continue from shared prefixes; False: they are to be scored whole.
        difference: the largest difference to the model's own log-probs, nats, of the way that is used.
        why_whole: why prefixes are not shared although the model's cache is a plain one; empty otherwise.
    """

    shares: bool
    difference: float
    why_whole: str = ""


@torch.no_grad()
def probe(
    model: nn.Module,
    rows: Sequence[ScoreRow],
    *,
    temperature: float = 1.0,
    image_token_id: int | None = None,
    precision: Precision = "tf32",
) -> Agreement:
    """Compare on `rows`: two groups or more of two rows or more, whose prompts begin alike within a group.

    The comparison is made in fp32, whatever the precision of the evidence. It costs a few forwards of these rows;
    every process must be given the same ones where weights are sharded.

    Raises:
        ModelError: a model that sees the tokens it predicts, or draws at random; log-probs that are not its own, or not
            of the precision that was asked for.
    """
    kind = type(causal_model(model)).__name__
    own = _tried(f"{kind} cannot compute in fp32", lambda: _own_in_fp32(model, rows, temperature, image_token_id))

    _check_causal(model, rows, own, temperature, image_token_id)

    def scored(share: bool) -> list[Tensor]:
        width = max(len(row.completion_ids) for row in rows)
        found = score(model, rows, width=width, temperature=temperature, image_token_id=image_token_id,
                      precision="float32", share=share)  # fmt: skip
        return [found_T[: len(row.completion_ids)] for found_T, row in zip(found, rows, strict=True)]

    with half_precision(model) as rounded:
        whole = _tried(f"the completions of {kind} cannot be scored", lambda: scored(share=False))
    if rounded and precision != "bfloat16":
        raise ModelError(
            f"{rounded[0]} of {kind} computes in half precision although credit_precision={precision!r}: load the "
            "model with dtype: float32, or set credit_precision: bfloat16 (evidence as rough as the model)"
        )
    difference = _largest(whole, own)
    if not difference < 1.0:
        blame = _blame(model, rows[0], image_token_id)
        raise ModelError(
            f"log-probs of {kind} as they are scored differ from its own forward by up to {_nats(whole, own):.1e} "
            f"nats in fp32 (bound {BOUND:.0e}); {blame}. Use method='grpo' with this model"
        )
    _check_rounding(model, rows[0], own[0], temperature, image_token_id)
    return _sharing(model, kind, lambda: scored(share=True), whole, own)


def _sharing(
    model: nn.Module, kind: str, scored: Callable[[], list[Tensor]], whole: Sequence[Tensor], own: Sequence[Tensor]
) -> Agreement:
    """Whether prefixes can be shared, or why rows are to be encoded whole."""
    if not continues_from_prefixes(model):
        return Agreement(False, _nats(whole, own))
    try:
        shared = scored()
    except Exception as error:  # whatever its code raises when it is asked for what it cannot do
        _raise_if_memory(error)
        return Agreement(False, _nats(whole, own), f"{kind} cannot continue from one ({_line(error)})")
    if not _largest(shared, own) < 1.0:
        why = f"with one the log-probs of {kind} are off by up to {_nats(shared, own):.1e} nats"
        return Agreement(False, _nats(whole, own), why)
    return Agreement(True, max(_nats(whole, own), _nats(shared, own)))


def own_logps(
    model: nn.Module, row: ScoreRow, temperature: float, image_token_id: int | None, padding: int = 0
) -> Tensor:
    """Log-probs of a completion (T,) from the logits of the model's own forward, as it is called in training, behind so
    many columns of padding."""
    for module in model.modules():
        if getattr(module, "rope_deltas", None) is not None:  # Qwen-VL would go on from the last prompt
            module.rope_deltas = None  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    device = next(model.parameters()).device
    ids = torch.tensor([[*[row.prompt_ids[0]] * padding, *row.prompt_ids, *row.completion_ids]], device=device)
    mask = (torch.arange(ids.shape[1], device=device) >= padding).long()[None]
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    inputs |= vision_inputs([row.images], ids, image_token_id)
    count = len(row.completion_ids)
    if "logits_to_keep" in inspect.signature(causal_model(model).forward).parameters:  # pyright: ignore[reportAttributeAccessIssue]
        inputs["logits_to_keep"] = count + 1
    logits = model(**inputs).logits[0, -count - 1 : -1].float() / temperature
    target = ids[0, -count:].to(logits.device)
    return logits.log_softmax(dim=-1).gather(1, target[:, None])[:, 0].to(device)


def _own_in_fp32(
    model: nn.Module, rows: Sequence[ScoreRow], temperature: float, image_token_id: int | None
) -> list[Tensor]:
    with scoring_in(model, "float32"):
        return [own_logps(model, row, temperature, image_token_id) for row in rows]


def _check_causal(
    model: nn.Module, rows: Sequence[ScoreRow], own: Sequence[Tensor], temperature: float, image_token_id: int | None
) -> None:
    """Another last token moves no log-prob before it: one row, of the longest completion."""
    place = max(range(len(rows)), key=lambda index: len(rows[index].completion_ids))
    row, own_T = rows[place], own[place][:-1]
    last = row.completion_ids[-1]
    words = [token for one in rows for token in one.completion_ids]
    other = next((token for token in words if token != last), int(not last))
    changed = replace(row, completion_ids=[*row.completion_ids[:-1], other])

    def before_last(given: ScoreRow) -> Tensor:
        return _own_in_fp32(model, [given], temperature, image_token_id)[0][:-1]

    kind, found_T = type(causal_model(model)).__name__, before_last(changed)
    if _within(found_T, own_T):
        return
    if not _within(before_last(row), own_T):
        raise ModelError(
            f"{kind} gives other log-probs for the same tokens each time, in eval mode and fp32: a difference of two "
            "contexts would be its noise. Use method='grpo' with this model"
        )
    raise ModelError(
        f"{kind} sees the tokens that it predicts: another last token moves log-probs before it by up to "
        f"{_nats([found_T], [own_T]):.1e} nats in fp32. By method='grpo' too it would be trained on what it cannot "
        "know when it generates; train a causal model (is_decoder, where its config has that)"
    )


@torch.no_grad()
def padding_moves(model: nn.Module, row: ScoreRow, columns: int) -> float | None:
    """Nats by which padding on the left moves a text's log-probs in fp32, positions not passed; None: within BOUND."""
    with scoring_in(model, "float32"):
        own_T, behind_T = (own_logps(model, row, 1.0, None, padding) for padding in (0, columns))
    return None if _within(behind_T, own_T) else _nats([behind_T], [own_T])


def _check_rounding(
    model: nn.Module, row: ScoreRow, exact_T: Tensor, temperature: float, image_token_id: int | None
) -> None:
    """In the run's own precision and attention the model gives the same but for rounding."""
    kind = type(causal_model(model)).__name__
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        (found_T,) = _tried(
            f"{kind} cannot compute in the run's own precision",
            lambda: [own_logps(model, row, temperature, image_token_id)],
        )
    finally:
        for module, training in modes.items():
            module.training = training
    off = (found_T - exact_T).abs().mean().item()
    if not off < ROUNDING_BOUND:
        raise ModelError(
            f"{kind} computes something else in fp32 than in the run's own precision and "
            f"attention: log-probs differ by {off:.2f} nats on average (rounding: less than {ROUNDING_BOUND}). Set "
            "attn_implementation: eager, or credit_precision: bfloat16"
        )


def _tried(what: str, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    try:
        return compute()
    except CepoError:
        raise
    except Exception as error:
        _raise_if_memory(error)
        raise ModelError(f"{what}: {_line(error)}. Use method='grpo' with this model") from error


def _raise_if_memory(error: Exception) -> None:
    if isinstance(error, torch.OutOfMemoryError):
        raise error


def _blame(model: nn.Module, row: ScoreRow, image_token_id: int | None) -> str:
    """What is likely to be wrong when whole rows disagree, looked for in one row alone: first in its states."""
    reading = Reading(logits_map=logits_map(model))
    own: list[Tensor] = []
    alone: list[Tensor] = []
    with scoring_in(model, "float32"):
        found = first_difference(
            model,
            lambda: own.append(own_logps(model, row, reading.temperature, image_token_id)),
            lambda: alone.extend(read_whole(model, [row], image_token_id, reading)),
        )
    kind = type(causal_model(model)).__name__
    if found:
        return f"they part at its {found}"
    if not _largest(alone, own) < 1.0:
        return f"they part in {kind}.forward, after the output layer"
    return "a row alone agrees: its log-probs depend on the rows beside it, or on their padding"


def _largest(found: Sequence[Tensor], own: Sequence[Tensor]) -> float:
    """The largest difference as a share of what is allowed."""
    pairs = zip(found, own, strict=True)
    return max(((f - o).abs() / (BOUND * (1 + o.abs() / 10))).nan_to_num(torch.inf).max().item() for f, o in pairs)


def _within(found_T: Tensor, own_T: Tensor) -> bool:
    """Whether two agree, or are of no token."""
    return not len(own_T) or _largest([found_T], [own_T]) < 1.0


def _nats(found: Sequence[Tensor], own: Sequence[Tensor]) -> float:
    return max((f - o).abs().max().item() for f, o in zip(found, own, strict=True))


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]
