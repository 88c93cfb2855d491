"""CEPO whose multipliers average one over a row: credit moves between tokens, a row's sum of advantages stays A n.

Without it a row of which the evidence is mostly positive gets a larger step than GRPO would give it, and a lever on
lambda or eps_w is also one on the step's length. The idea of renormalising is CSCR's (arXiv 2607.27888).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from cepo import register
from cepo.credit.rules import Credit, Knobs, Method, TeacherLogps, assign_cepo


def assign_normalised(advantage_B: Tensor, logps: TeacherLogps, mask_BT: Tensor, knobs: Knobs) -> Credit:
    """A_hat_t = A m_t / mean(m): CEPO's multipliers m_t > 0 over their mean over the row's tokens."""
    credit = assign_cepo(advantage_B, logps, mask_BT, knobs)
    whole_B = advantage_B * mask_BT.sum(1)
    given_B = (credit.advantage_BT * mask_BT).sum(1)
    scale_B = (whole_B / given_B).where(given_B != 0, given_B.new_ones(()))
    return replace(credit, advantage_BT=credit.advantage_BT * scale_B[:, None])


register(
    Method(
        name="cepo-normalised",
        source="CEPO, each row's multipliers over their mean",
        teachers=frozenset({"plus", "minus"}),
        assign=assign_normalised,
    )
)
