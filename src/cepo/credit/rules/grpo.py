"""GRPO (DeepSeekMath, arXiv 2402.03300): every token of a rollout has its rollout's advantage."""

from cepo.credit.rules.rule import Rule

GRPO = Rule("grpo", "DeepSeekMath, arXiv 2402.03300: one advantage for all tokens")
