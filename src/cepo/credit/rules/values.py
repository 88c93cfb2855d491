"""Values of prefixes from outside as credit: how much each token changed the expected reward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cepo.credit.rules.rule import Credit, Inputs, Rule, added
from cepo.errors import SettingError

EPSILON = 1e-4
"""What TRL adds to the deviation that divides A."""


@dataclass(frozen=True, slots=True)
class ValuesOptions:
    """`form`: `difference`, what the token added; `baseline`, what the outcome is above what was expected before it."""

    form: str = "difference"

    def __post_init__(self) -> None:
        if self.form not in ("difference", "baseline"):
            raise SettingError(f"rule_options: form must be difference or baseline, got {self.form!r}")


def assign_values(inputs: Inputs) -> Credit:
    """Scores are values: V_t, the expected reward once token t is written, in reward units; V_0 is the pass rate.

    `difference`: A_t = (V_t - V_{t-1}) / (std + 1e-4), the advantage of VinePPO (arXiv 2410.01679) at gamma = 1, with
    values from a function in place of its fresh continuations. `baseline`: A_t = (V_n - V_{t-1}) / (std + 1e-4), with
    V_n at the row's last token, its outcome: the same in expectation over what follows, at a higher variance. lambda
    mixes with A, and the sign of A is not kept. Evidence: V_t - V_{t-1}, reward units.
    Degenerate: a row with nothing masked in keeps A. A token outside the mask is passed over: its value is not read.
    """
    after_BT, before_BT = _values(inputs)
    gained_BT = after_BT - before_BT
    is_difference = inputs.options(ValuesOptions).form == "difference"
    step_BT = (gained_BT if is_difference else after_BT[:, -1:] - before_BT) / (inputs.deviation_B[:, None] + EPSILON)
    return added(inputs, gained_BT, inputs.knobs.strength * (step_BT - inputs.advantage_B[:, None]))


def _values(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """V after and before each token; where a token is outside the mask, the last value before it goes on."""
    keep_BT, scores_BT = inputs.mask_BT.bool(), inputs.scores_BT
    given_BU = torch.cat([inputs.pass_rate_B[:, None].to(scores_BT.dtype), scores_BT], dim=1)
    kept_BU = torch.cat([torch.ones_like(keep_BT[:, :1]), keep_BT], dim=1)
    place_U = torch.arange(given_BU.shape[1], device=scores_BT.device)
    value_BU = given_BU.gather(1, torch.where(kept_BU, place_U, 0).cummax(dim=1).values)
    return value_BU[:, 1:], value_BU[:, :-1]


VALUES = Rule(
    "values",
    "VinePPO's advantage, arXiv 2410.01679, on values from outside",
    assign=assign_values,
    reads=frozenset({"scores", "pass_rate", "deviation"}),
    keeps_sign=False,
    options=ValuesOptions,
    defaults={"credit_strength": 1.0, "credit_schedule": "constant"},
)
