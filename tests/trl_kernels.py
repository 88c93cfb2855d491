"""TRL 1.15 has the log-probs of its loss on GPUs alone: on a CPU a plain stand-in, for `make test-trl`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from trl.trainer import utils

__all__ = ["install"]


class PlainLogProbs:
    """What TRL's kernel gives, with all logits at once."""

    @staticmethod
    def apply(
        states_ND: Tensor, weight: Tensor, bias: Tensor | None, target_N: Tensor, temperature: float, _chunk: int,
        cap: float | None, scale: float, outputs: Any,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        logits_NV = F.linear(states_ND, weight, bias).float() * scale
        logits_NV = cap * (logits_NV / cap).tanh() if cap else logits_NV
        logp_NV = (logits_NV / temperature).log_softmax(-1)
        entropy_N = -(logp_NV.exp() * logp_NV).sum(-1) if "entropy" in outputs else None
        return logp_NV.gather(1, target_N[:, None])[:, 0], entropy_N, None, None, None


def install() -> None:
    """Where TRL has no kernel of its own for this machine."""
    if getattr(utils, "_ChunkedLogProbFunction", PlainLogProbs) is None and not torch.cuda.is_available():
        utils._ChunkedLogProbFunction = PlainLogProbs  # pyright: ignore[reportAttributeAccessIssue]
