"""A credit rule of your own, in one file. `python examples/own_credit_rule.py`

A rule is a pure function from log-probs to evidence. This one bends CEPO's evidence, tau tanh(Delta / tau): no token
counts for more than tau nats, and the sign stays (the squashing is RLCSD's, arXiv 2606.11709). The trainer scores
the prompts that the rule names, and hands it those and nothing else; clip, lambda, masks, records, logs and the
report come with it.
"""

from __future__ import annotations

from datasets import Dataset

from cepo import (
    EMBEDDED,
    CEPOConfig,
    CEPOTrainer,
    Credit,
    Inputs,
    Rule,
    accuracy_reward,
    contrastive_evidence,
    credit_from,
    generate_problems,
    problem_row,
    register,
)

TAU = 0.25
"""Nats."""


def assign_bent(inputs: Inputs) -> Credit:
    """Delta = tau tanh((log P+ - log P-) / tau)."""
    delta_BT = contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), inputs.mask_BT)
    return credit_from(inputs, TAU * (delta_BT / TAU).tanh())


register(Rule("bent", "CEPO's evidence, squashed as in RLCSD", prompts=("plus", "minus"), assign=assign_bent))


def main(output_dir: str = "runs/own-credit-rule", max_steps: int = 3) -> CEPOTrainer:
    dataset = Dataset.from_list([problem_row(problem) for problem in generate_problems("train", 64, seed=0)])
    config = CEPOConfig(
        output_dir=output_dir,
        method="bent",
        max_steps=max_steps,
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=64,
        learning_rate=1e-4,
        logging_steps=1,
        bf16=False,
        report_to=[],
        save_strategy="no",
    )
    trainer = CEPOTrainer(str(EMBEDDED), accuracy_reward, config, train_dataset=dataset)
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
