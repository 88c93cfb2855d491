"""Whether a model's log-probs are the same behind more padding: rows that are dealt get another width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from cepo.errors import SettingError
from cepo.scoring.models import causal_model
from cepo.scoring.precision import scoring_in
from cepo.scoring.probe import BOUND

__all__ = ["check_padding"]

MORE = 8
"""Columns of padding that are put before a row."""


@torch.no_grad()
def check_padding(model: nn.Module, ids: Sequence[int]) -> None:
    """Compare a text's own log-probs in fp32 with those behind padding, as TRL's update pads: positions not passed.

    Raises:
        SettingError: they differ, as where positions are learnt and counted from the first column.
    """
    ids_S = torch.tensor([ids], device=next(model.parameters()).device)
    padded_S = torch.cat([ids_S[:, :1].expand(-1, MORE), ids_S], dim=1)
    with scoring_in(model, "float32"):
        own, padded = (_logps(model, given, more) for given, more in ((ids_S, 0), (padded_S, MORE)))
    difference = (own - padded).abs().max().item()
    if not difference < BOUND * (1 + own.abs().max().item() / 10):
        raise SettingError(
            f"balance_batch=True gives rows other padding, and {type(causal_model(model)).__name__} reads it: its log-"
            f"probs behind {MORE} columns of it differ by up to {difference:.1e} nats; leave balance_batch out"
        )


def _logps(model: nn.Module, ids_S: Tensor, padding: int) -> Tensor:
    """Log-probs of the text behind its padding and its first token, (S - padding - 1,)."""
    mask_S = torch.ones_like(ids_S)
    mask_S[:, :padding] = 0
    logits = cast(Any, model)(input_ids=ids_S, attention_mask=mask_S, use_cache=False).logits[0, padding:-1].float()
    target = ids_S[0, padding + 1 :].to(logits.device)
    return logits.log_softmax(dim=-1).gather(1, target[:, None])[:, 0]
