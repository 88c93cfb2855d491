"""What to log about a step's credit, exact over micro-batches and processes.

A batch is reduced to a vector of additive sums: callers add these vectors, or all-reduce them, and summarise.
"""

from typing import Final

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from cepo.credit.evidence import clip_bounds, signed_evidence
from cepo.credit.masked import MaskBT, as_bool, masked_sum

# Layout of the sums: moments of the evidence at A > 0, the same at A < 0, the number of credited tokens, and
# one sum per name below, to be divided by that number.
_MOMENTS: Final = 4
_PER_TOKEN: Final = (
    "tokens_positive",
    "tokens_negative",
    "tokens_zero",
    "tokens_nonfinite",
    "clip_low",
    "clip_high",
    "multiplier_mean",
)
_LENGTH: Final = 2 * _MOMENTS + 1 + len(_PER_TOKEN)


def credit_sums(
    advantage_B: Float[Tensor, "B"],
    evidence_BT: Float[Tensor, "B T"],
    token_advantage_BT: Float[Tensor, "B T"],
    mask_BT: MaskBT,
    credited_B: Bool[Tensor, "B"],
    clip: float,
) -> Float64[Tensor, "S"]:
    """Sufficient statistics of a batch's credit: the sums of two batches add up to their union's.

    Only masked-in tokens of credited rows count. Evidence in nats; its moments are of the finite values only,
    since one infinity would erase the mean. The multiplier is what the rule made of the advantage, A_hat_t / A; 1
    where A = 0. Degenerate: no credited token gives zeros.

    Raises:
        ValueError: eps_w outside [0, 1).
    """
    token_BT = as_bool(mask_BT) & credited_B[:, None]
    signed_BT = signed_evidence(advantage_B, evidence_BT, mask_BT)
    base_B1 = advantage_B[:, None]
    multiplier_BT = torch.where(base_B1 != 0, token_advantage_BT / torch.where(base_B1 != 0, base_B1, 1.0), 1.0)
    low, high = clip_bounds(clip)
    per_token = [  # in the order of _PER_TOKEN
        _count(token_BT & (evidence_BT > 0)),
        _count(token_BT & (evidence_BT < 0)),
        _count(token_BT & (evidence_BT == 0)),
        _count(token_BT & ~evidence_BT.isfinite()),
        _count(token_BT & (signed_BT < low)),
        _count(token_BT & (signed_BT > high)),
        _sum(multiplier_BT, token_BT),
    ]
    up = _moments(evidence_BT, token_BT & (advantage_B > 0)[:, None])
    down = _moments(evidence_BT, token_BT & (advantage_B < 0)[:, None])
    return torch.stack([*up, *down, _count(token_BT), *per_token])


def summarise(sums: Float64[Tensor, "S"]) -> dict[str, float]:
    """The loggable numbers of `credit_sums`, after adding over micro-batches and processes.

    `credit/evidence_{mean,std,abs_mean}_{pos,neg}`: nats, split by the sign of A, population std.
    `credit/clip_{low,high}`: fraction of tokens whose weight was raised to 1 - eps_w, lowered to 1 + eps_w.
    `credit/multiplier_mean`: its distance from 1 is the drift (credit is not conserved).
    `credit/tokens_{positive,negative,zero,nonfinite}`: fraction by evidence (arXiv 2605.19436, Figure 4);
    infinite evidence is positive or negative and non-finite.

    Degenerate: a key that nothing was counted for is left out, never NaN: no `_neg` keys without a credited
    token at A < 0, and an empty dict without any credited token.

    Raises:
        ValueError: a vector that is not of `credit_sums`.
    """
    values = sums.tolist()
    if len(values) != _LENGTH:
        raise ValueError(f"expected the {_LENGTH} sums of credit_sums, got {len(values)}")
    up, down, (tokens, *per_token) = (
        values[:_MOMENTS],
        values[_MOMENTS : 2 * _MOMENTS],
        values[2 * _MOMENTS :],
    )
    if not tokens:
        return {}
    return {
        **_evidence_metrics("pos", *up),
        **_evidence_metrics("neg", *down),
        **{f"credit/{name}": value / tokens for name, value in zip(_PER_TOKEN, per_token, strict=True)},
    }


def _evidence_metrics(suffix: str, tokens: float, total: float, squares: float, magnitudes: float) -> dict[str, float]:
    if not tokens:
        return {}
    mean = total / tokens
    # Rounding can push the variance of equal values just below 0.
    variance = max(0.0, squares / tokens - mean**2)
    return {
        f"credit/evidence_mean_{suffix}": mean,
        f"credit/evidence_std_{suffix}": variance**0.5,
        f"credit/evidence_abs_mean_{suffix}": magnitudes / tokens,
    }


def _moments(evidence_BT: Tensor, where_BT: Tensor) -> tuple[Tensor, ...]:
    finite_BT = where_BT & evidence_BT.isfinite()
    wide_BT = evidence_BT.double()  # before squaring: a float32 square rounds, and overflows from 2e19 on
    sums = (_sum(values_BT, finite_BT) for values_BT in (wide_BT, wide_BT.square(), wide_BT.abs()))
    return _count(finite_BT), *sums


def _sum(values_BT: Tensor, where_BT: Tensor) -> Tensor:
    return masked_sum(values_BT.double(), where_BT).sum()


def _count(where_BT: Tensor) -> Tensor:
    return where_BT.sum().double()
