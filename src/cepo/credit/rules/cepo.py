"""CEPO (arXiv 2605.19436): does the right answer favour the token while a wrong one disfavours it?"""

from cepo.credit.evidence import contrastive_evidence
from cepo.credit.rules.rule import Credit, Inputs, Rule, credit_from


def assign_cepo(inputs: Inputs) -> Credit:
    """Delta = log P+ - log P-, nats; then clip and lambda."""
    return credit_from(inputs, contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), inputs.mask_BT))


CEPO = Rule("cepo", "CEPO, arXiv 2605.19436: log P+ - log P-", ("plus", "minus"), assign_cepo)
