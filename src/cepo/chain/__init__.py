"""Procedural chains: dependent steps in filler words, a solver that labels every token, a policy that goes wrong."""

from cepo.chain.problems import CHAIN, Chain, ChainSpec, generate
from cepo.chain.solver import Label, label_text, label_tokens

__all__ = ["CHAIN", "Chain", "ChainSpec", "Label", "generate", "label_text", "label_tokens"]
