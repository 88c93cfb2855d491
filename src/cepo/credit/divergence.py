"""Distribution matching per token: how far the student's next-token distribution is from a teacher's.

With M = (1 - b) P_S + b P_T, the generalised Jensen-Shannon divergence is

    L = b KL(P_T || M) + (1 - b) KL(P_S || M)        0 < b < 1        generalised_jsd
    L = KL(P_T || P_S)                               b = 0 (forward)
    L = KL(P_S || P_T)                               b = 1 (reverse)

OPSD (arXiv 2601.18734) takes it over the vocabulary or the teacher's top k, SDPO (arXiv 2601.20802) over the
student's top k and one bucket for the rest. The gradient goes through the student alone. L itself vanishes as
b -> 0 or 1; the named ends are the limits of L / b and L / (1 - b).
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from cepo.credit.masked import MaskBT, as_bool
from cepo.errors import SettingError

LOWEST: Final = -1e4
"""Log-probs are bounded here, nats: a token of probability 0 then costs much, and never NaN."""


def full_vocabulary(
    student_logit_NV: Float[Tensor, "N V"], teacher_logit_NV: Float[Tensor, "N V"]
) -> tuple[Float[Tensor, "N V"], Float[Tensor, "N V"]]:
    """Both distributions over the vocabulary, as log-probs; the teacher's without gradient."""
    return _log_softmax(student_logit_NV), _log_softmax(teacher_logit_NV.detach())


def teacher_top_k(
    student_logit_NV: Float[Tensor, "N V"], teacher_logit_NV: Float[Tensor, "N V"], k: int
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
    """Both distributions on the teacher's k likeliest tokens, each renormalised to them (OPSD's option).

    K = min(k, V). Raises ValueError for k < 1.
    """
    index_NK = _top(teacher_logit_NV, k)
    return (
        _log_softmax(student_logit_NV.gather(-1, index_NK)),
        _log_softmax(teacher_logit_NV.detach().gather(-1, index_NK)),
    )


def student_top_k_with_tail(
    student_logit_NV: Float[Tensor, "N V"], teacher_logit_NV: Float[Tensor, "N V"], k: int
) -> tuple[Float[Tensor, "N K1"], Float[Tensor, "N K1"]]:
    """Both distributions on the student's k likeliest tokens and, last, one bucket for all others (SDPO).

    The bucket's log-prob is log(1 - sum of the k), computed from the others' logits and so without cancellation;
    with k >= V it is empty (`LOWEST`). K1 = min(k, V) + 1. Raises ValueError for k < 1.
    """
    index_NK = _top(student_logit_NV, k)
    return _with_tail(student_logit_NV, index_NK), _with_tail(teacher_logit_NV.detach(), index_NK)


def generalised_jsd(
    student_logp_NK: Float[Tensor, "N K"], teacher_logp_NK: Float[Tensor, "N K"], beta: float
) -> Float[Tensor, "N"]:
    """The divergence of two distributions given as log-probs, nats, per row; 0 where they are equal.

    Raises:
        ValueError: beta outside [0, 1].
    """
    if not 0.0 <= beta <= 1.0:
        raise SettingError(f"beta must lie in [0, 1], got {beta}")
    if beta == 0.0:
        return _kl(teacher_logp_NK, student_logp_NK)
    if beta == 1.0:
        return _kl(student_logp_NK, teacher_logp_NK)
    share = torch.tensor([1.0 - beta, beta], dtype=student_logp_NK.dtype, device=student_logp_NK.device).log()
    mixture_NK = torch.logaddexp(student_logp_NK + share[0], teacher_logp_NK + share[1])
    return beta * _kl(teacher_logp_NK, mixture_NK) + (1.0 - beta) * _kl(student_logp_NK, mixture_NK)


def clipped_ratio(
    logp_BT: Float[Tensor, "B T"], old_logp_BT: Float[Tensor, "B T"], highest: float
) -> Float[Tensor, "B T"]:
    """Importance weight of a sampled token, without gradient: min(exp(sg(logp - old_logp)), highest) (SDPO).

    Raises:
        ValueError: a bound that is not positive.
    """
    if not highest > 0.0:
        raise ValueError(f"the importance weight's bound must be positive, got {highest}")
    return (logp_BT - old_logp_BT).detach().clamp(max=50.0).exp().clamp(max=highest)


def taught_tokens(mask_BT: MaskBT, taught_B: Float[Tensor, "B"]) -> Float[Tensor, "B T"]:
    """Tokens that the loss counts, as 0 or 1: completion tokens of rows that have a teacher."""
    return (as_bool(mask_BT) & (taught_B != 0)[:, None]).to(taught_B.dtype)


def _kl(p_logp_NK: Tensor, q_logp_NK: Tensor) -> Tensor:
    """KL(p || q); a term with p = 0 is 0."""
    return (p_logp_NK.exp() * (p_logp_NK - q_logp_NK)).sum(dim=-1)


def _log_softmax(logit_NK: Tensor) -> Tensor:
    return logit_NK.log_softmax(dim=-1).clamp(min=LOWEST)


def _top(logit_NV: Tensor, k: int) -> Tensor:
    if k < 1:
        raise SettingError(f"top k needs k >= 1, got {k}")
    return logit_NV.detach().topk(min(k, logit_NV.shape[-1]), dim=-1).indices


def _with_tail(logit_NV: Tensor, index_NK: Tensor) -> Tensor:
    total_N1 = logit_NV.logsumexp(dim=-1, keepdim=True)
    rest_NV = logit_NV.scatter(-1, index_NK, -torch.inf)
    empty_N1 = (rest_NV == -torch.inf).all(dim=-1, keepdim=True)
    # logsumexp of nothing has no gradient: such a row's tail is a constant.
    tail_N1 = torch.where(empty_N1, logit_NV, rest_NV).logsumexp(dim=-1, keepdim=True)
    tail_N1 = torch.where(empty_N1, torch.full_like(tail_N1, LOWEST), tail_N1 - total_N1)
    return torch.cat([logit_NV.gather(-1, index_NK) - total_N1, tail_N1], dim=-1).clamp(min=LOWEST)
