"""CPO (arXiv 2607.14614, second-hand): what the right answer adds to each token, added to the advantage."""

from __future__ import annotations

from dataclasses import dataclass

from cepo.credit.rules.rule import STUDENT, Credit, Inputs, Rule, added, gain
from cepo.errors import SettingError


@dataclass(frozen=True, slots=True)
class CPOOptions:
    """`bound`: nats of evidence that count at most."""

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.bound < float("inf"):
            raise SettingError(f"rule_options: bound must be above 0 nats, got {self.bound}")


def assign_cpo(inputs: Inputs) -> Credit:
    """A_t = A + lambda clip(d_t, -bound, bound), d = log P+ - log P_S in nats; 0 where that would turn the sign of A.

    Source: CPO, arXiv 2607.14614, second-hand (we have not read its text; the bound and the weight lambda are our
    choices). It acts where A = 0 too, in groups that are all right or all wrong: A_t = lambda clip(d_t) there, the only
    rule of ours that learns from them. |A_t - A| <= lambda bound. Degenerate: lambda = 0 or P+ = P_S is GRPO.
    """
    bound, evidence_BT = inputs.options(CPOOptions).bound, gain(inputs)
    shift_BT = inputs.knobs.strength * evidence_BT.clamp(-bound, bound)
    return added(inputs, evidence_BT, shift_BT, keep_sign=True, where_equal=True)


CPO = Rule(
    "cpo",
    "CPO, arXiv 2607.14614, second-hand: A + clipped log P+ - log P_S",
    ("plus", STUDENT),
    assign_cpo,
    acts_where_equal=True,
    options=CPOOptions,
    defaults={"credit_strength": 0.5, "credit_schedule": "constant"},
)
