"""Evidence and credit: what two teachers say about a token, and what that does to its advantage.

The whole of CEPO (arXiv 2605.19436), per token t, under stop-gradient and in nats:

    Delta_t = log P+(t) - log P-(t)            evidence            contrastive_evidence
    w_t     = clip(exp(sign(A) Delta_t))       weight in 1 +- e    weights
    m_t     = (1 - lambda) + lambda w_t        multiplier > 0      multiplier
    A_hat_t = A m_t                            token advantage     modulate

RLSD (arXiv 2604.03128) is the same with Delta_t = log P+(t) - log P_S(t), `privileged_gain`.

The references reach the update only through m_t > 0. That bounds what they can leak per sample,
|A_hat - A| <= lambda e |A|, but does not make it zero: in expectation over y_t an r-dependent tilt of that
size remains.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cepo.credit.masked import MaskBT, as_bool
from cepo.errors import SettingError


def contrastive_evidence(
    logp_plus_BT: Float[Tensor, "B T"], logp_minus_BT: Float[Tensor, "B T"], mask_BT: MaskBT
) -> Float[Tensor, "B T"]:
    """How much more the right answer explains each token than the wrong one does (CEPO).

    Delta_t = sg(log P+(t) - log P-(t)), nats; exactly 0 outside the mask. Source: arXiv 2605.19436.

    Degenerate: -inf against a finite log-prob gives an infinite Delta, which `weights` clips; equal
    infinities give 0 (neither teacher prefers the other). NaN inside the mask stays NaN: see `finite_rows`.
    """
    return _log_ratio(logp_plus_BT, logp_minus_BT, mask_BT)


def privileged_gain(
    logp_teacher_BT: Float[Tensor, "B T"], logp_student_BT: Float[Tensor, "B T"], mask_BT: MaskBT
) -> Float[Tensor, "B T"]:
    """How much more the token is explained once the answer is known (RLSD).

    Delta_t = sg(log P+(t) - log P_S(t)), nats; exactly 0 outside the mask. Source: arXiv 2604.03128.
    Degenerate cases as in `contrastive_evidence`, of which this is the case P- := P_S.
    """
    return _log_ratio(logp_teacher_BT, logp_student_BT, mask_BT)


def _log_ratio(logp_a_BT: Tensor, logp_b_BT: Tensor, mask_BT: Tensor) -> Tensor:
    keep_BT = as_bool(mask_BT)
    # Padding may hold -inf or NaN: select before subtracting. Equal values include equal infinities.
    a_BT = torch.where(keep_BT, logp_a_BT.detach(), 0.0)
    b_BT = torch.where(keep_BT, logp_b_BT.detach(), 0.0)
    return torch.where(a_BT == b_BT, 0.0, a_BT - b_BT)


def finite_rows(logp_BT: Float[Tensor, "B T"], mask_BT: MaskBT) -> Bool[Tensor, "B"]:
    """Rows whose masked-in log-probs are all finite, so that a caller can drop the credit of the others.

    A sampled token has a finite log-prob under any healthy softmax: NaN and +-inf both mean a broken forward.
    Degenerate: a row with nothing masked in is finite.
    """
    return (logp_BT.isfinite() | ~as_bool(mask_BT)).all(dim=-1)


def marginal_logp(logp_KBT: Float[Tensor, "K B T"], valid_KB: Bool[Tensor, "K B"]) -> Float[Tensor, "B T"]:
    """Log-prob of each token under a uniformly drawn valid wrong answer.

    log P-(t) = log( (1/n) sum_{k valid} P-_k(t) ), nats, n valid references of the row: the mean of the
    probabilities, not of their logs. Source: RLCSD, arXiv 2606.11709. One valid k gives that k, bit for bit.

    Raises:
        ValueError: a row without any valid reference (it has no P-; leave it out or put P_S in slot 0).
    """
    count_B = valid_KB.sum(dim=0)
    if not count_B.all():
        rows = (count_B == 0).nonzero().flatten().tolist()
        raise ValueError(f"rows {rows} have no valid reference among K={len(valid_KB)}: they need a fallback")
    logp_KBT = torch.where(valid_KB[..., None], logp_KBT, -torch.inf)
    return logp_KBT.logsumexp(dim=0) - count_B.to(logp_KBT.dtype).log()[:, None]


def dead_zone(evidence_BT: Float[Tensor, "B T"], threshold: float) -> Float[Tensor, "B T"]:
    """Evidence with its noise floor taken off: sign(Delta) max(|Delta| - threshold, 0), nats.

    Put the threshold at the evidence of a null contrast (two irrelevant references), so that filler gets
    multiplier 1 in fact and not only on paper. Departs from arXiv 2605.19436; threshold 0 is the identity.

    Raises:
        ValueError: a threshold that is negative or not finite.
    """
    if not 0.0 <= threshold < math.inf:
        raise SettingError(f"threshold must be a finite number of nats >= 0, got {threshold}")
    return evidence_BT.sign() * (evidence_BT.abs() - threshold).clamp(min=0.0)


def clip_bounds(clip: float) -> tuple[float, float]:
    """(log(1 - eps_w), log(1 + eps_w)): where the log-weight is clipped, nats.

    Raises:
        ValueError: eps_w outside [0, 1); at 1 a weight could reach 0 and erase the sign of the advantage.
    """
    if not 0.0 <= clip < 1.0:
        raise SettingError(f"clip (eps_w) must lie in [0, 1), got {clip}")
    return math.log1p(-clip), math.log1p(clip)


def signed_evidence(
    advantage_B: Float[Tensor, "B"], evidence_BT: Float[Tensor, "B T"], mask_BT: MaskBT
) -> Float[Tensor, "B T"]:
    """The log-weight before clipping: sign(A) Delta_t, nats; exactly 0 outside the mask and where A = 0.

    Positive: the evidence agrees with the outcome, and the token is to carry more of it.
    """
    sign_B1 = advantage_B.sign()[:, None]
    # Selecting, not multiplying, keeps 0 * inf = NaN out of a row with A = 0.
    return torch.where(as_bool(mask_BT) & (sign_B1 != 0), sign_B1 * evidence_BT, 0.0)


def weights(
    advantage_B: Float[Tensor, "B"], evidence_BT: Float[Tensor, "B T"], mask_BT: MaskBT, clip: float
) -> Float[Tensor, "B T"]:
    """Clipped weight of each token: w_t = exp(clamp(sign(A) Delta_t, log(1 - eps_w), log(1 + eps_w))).

    Equals clip(exp(sign(A) Delta_t), 1 - eps_w, 1 + eps_w), but cannot overflow. Dimensionless; exactly 1
    outside the mask, where Delta = 0 and where A = 0. NaN evidence gives a NaN weight.
    Source: arXiv 2605.19436.

    Raises:
        ValueError: eps_w outside [0, 1).
    """
    low, high = clip_bounds(clip)
    return signed_evidence(advantage_B, evidence_BT, mask_BT).clamp(low, high).exp()


def multiplier(
    advantage_B: Float[Tensor, "B"],
    evidence_BT: Float[Tensor, "B T"],
    mask_BT: MaskBT,
    strength: float,
    clip: float,
) -> Float[Tensor, "B T"]:
    """What each token's advantage is multiplied by: m_t = (1 - lambda) + lambda w_t, in 1 +- lambda eps_w.

    Positive, dimensionless; exactly 1 outside the mask, where Delta = 0, where A = 0 and at lambda = 0.
    Its mean over a sequence is not 1 but within lambda eps_w of it: credit is not conserved.
    Source: arXiv 2605.19436.

    Raises:
        ValueError: lambda outside [0, 1] or eps_w outside [0, 1).
    """
    if not 0.0 <= strength <= 1.0:
        raise SettingError(f"strength (lambda) must lie in [0, 1], got {strength}")
    # Exactly 1 at w = 1 for every lambda: the roundings of 1 - lambda and lambda add up to at most a tie.
    return (1.0 - strength) + strength * weights(advantage_B, evidence_BT, mask_BT, clip)


def modulate(
    advantage_B: Float[Tensor, "B"],
    evidence_BT: Float[Tensor, "B T"],
    mask_BT: MaskBT,
    strength: float,
    clip: float,
) -> Float[Tensor, "B T"]:
    """Token advantages for the PPO-clip surrogate: A_hat_t = A ((1 - lambda) + lambda w_t), unit of A.

    sign(A_hat_t) = sign(A) and |A_hat_t - A| <= lambda eps_w |A| (arXiv 2605.19436, Theorem 1). At lambda = 0
    or Delta = 0 it is A broadcast, bit for bit: GRPO. Outside the mask it is A as well, not 0, so that a loss
    that masks later sees what GRPO would show it. NaN evidence gives NaN: drop such rows by `finite_rows`.

    Raises:
        ValueError: lambda outside [0, 1] or eps_w outside [0, 1).
    """
    return advantage_B[:, None] * multiplier(advantage_B, evidence_BT, mask_BT, strength, clip)
