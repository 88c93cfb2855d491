"""Per-token scores from outside as credit: a process reward model, an oracle, a rule of thumb.

Reward functions return them (`cepo.TokenReward`); rows that no function scored keep their advantage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cepo.credit.evidence import signed_evidence
from cepo.credit.rules.rule import Credit, Inputs, Rule, added, weighed
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class ScoresOptions:
    """What a score s_t is.

    `form`: `quality`: how good the token is, about 0, so that good tokens of right rows and bad tokens of wrong rows
    weigh more; `weight`: the token's weight itself, 0 or more. `scale` multiplies the scores first.
    """

    form: str = "quality"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in ("quality", "weight"):
            raise SettingError(f"rule_options: form must be quality or weight, got {self.form!r}")
        if not 0.0 <= self.scale < float("inf"):
            raise SettingError(f"rule_options: scale must be 0 or more, got {self.scale}")


@dataclass(frozen=True, slots=True)
class AddedOptions:
    """`beta`: deviations of A for a score of 1; `keep`: how much of A stays (0: the scores replace it)."""

    beta: float = 0.5
    keep: float = 1.0


def assign_scores(inputs: Inputs) -> Credit:
    """A_hat_t = A ((1 - lambda) + lambda w_t), the sign of A kept.

    `quality`: w_t = 1 + eps_w clip(sign(A) scale s_t, -1, 1), so |A_hat - A| <= lambda eps_w |A|, CEPO's bound.
    `weight`: w_t = max(scale s_t, 0), bounded by the scores alone.
    Ours. Scores are dimensionless. Degenerate: scores of 0 are GRPO for `quality`, and no gradient for `weight`.
    """
    options = inputs.options(ScoresOptions)
    scores_BT = options.scale * torch.where(inputs.mask_BT.bool(), inputs.scores_BT, 0.0)
    if options.form == "weight":
        return weighed(inputs, scores_BT, scores_BT.clamp(min=0.0))
    agrees_BT = signed_evidence(inputs.advantage_B, scores_BT, inputs.mask_BT).clamp(-1.0, 1.0)
    return weighed(inputs, scores_BT, 1.0 + inputs.knobs.clip * agrees_BT)


def assign_added(inputs: Inputs) -> Credit:
    """A_hat_t = A + lambda (keep A + beta s_t - A): at lambda = 1 keep A + beta s_t, in deviations.

    Ours, the usual way of adding process rewards; the sign of A is not kept, and only the scores bound it.
    Degenerate: keep 1 and scores of 0 are GRPO, bit for bit; beta in rows with A = 0 is never seen.
    """
    options = inputs.options(AddedOptions)
    scores_BT = torch.where(inputs.mask_BT.bool(), inputs.scores_BT, 0.0)
    shift_BT = (options.keep - 1.0) * inputs.advantage_B[:, None] + options.beta * scores_BT
    return added(inputs, scores_BT, inputs.knobs.strength * shift_BT)


SCORES = Rule(
    "scores",
    "ours: scores of single tokens from outside as weights",
    assign=assign_scores,
    reads=frozenset({"scores"}),
    options=ScoresOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
SCORES_ADDED = Rule(
    "scores_added",
    "scores of single tokens from outside, added to A",
    assign=assign_added,
    reads=frozenset({"scores"}),
    keeps_sign=False,
    options=AddedOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
