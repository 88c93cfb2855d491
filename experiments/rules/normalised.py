"""CEPO whose multipliers average one over a row: credit moves between tokens, a row's sum of advantages stays A n.

Without it a row of which the evidence is mostly positive gets a larger step than GRPO would give it, and a lever on
lambda or eps_w is also one on the step's length. The idea of renormalising is CSCR's (arXiv 2607.27888).
"""

from __future__ import annotations

from dataclasses import replace

from cepo import Credit, Inputs, Rule, contrastive_evidence, credit_from, register


def assign_normalised(inputs: Inputs) -> Credit:
    """A_hat_t = A m_t / mean(m): CEPO's multipliers m_t > 0 over their mean over the row's tokens."""
    credit = credit_from(inputs, contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), inputs.mask_BT))
    whole_B = inputs.advantage_B * inputs.mask_BT.sum(1)
    given_B = (credit.advantage_BT * inputs.mask_BT).sum(1)
    scale_B = (whole_B / given_B).where(given_B != 0, given_B.new_ones(()))
    return replace(credit, advantage_BT=credit.advantage_BT * scale_B[:, None])


register(
    Rule(
        "cepo-normalised",
        "CEPO, each row's multipliers over their mean",
        prompts=("plus", "minus"),
        assign=assign_normalised,
    )
)
