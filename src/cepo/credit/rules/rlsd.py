"""RLSD (arXiv 2604.03128): what the right answer adds to each token's probability."""

from cepo.credit.evidence import privileged_gain
from cepo.credit.rules.rule import Credit, Inputs, Rule, credit_from


def assign_rlsd(inputs: Inputs) -> Credit:
    """Delta = log P+ - log P_S, nats; then CEPO's weights."""
    return credit_from(inputs, privileged_gain(inputs.logp("plus"), inputs.logp("student"), inputs.mask_BT))


RLSD = Rule("rlsd", "RLSD, arXiv 2604.03128: log P+ - log P_S", ("plus", "student"), assign_rlsd)
