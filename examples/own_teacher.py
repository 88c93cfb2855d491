"""A second teacher, and a prompt of the teachers' own, in one file. `python examples/own_teacher.py`

An earlier checkpoint (here the model before this training) reads each rollout beside the policy, without a reference;
all teachers read the problem under words of their own. The rule gives a token RLSD's evidence as far as the earlier
model would not have written it anyway.
"""

from __future__ import annotations

import torch
from datasets import Dataset

from cepo import (
    EMBEDDED,
    CEPOConfig,
    CEPOTrainer,
    Credit,
    Inputs,
    Rule,
    accuracy_reward,
    credit_from,
    generate_problems,
    privileged_gain,
    problem_row,
    register,
)


def assign_new(inputs: Inputs) -> Credit:
    """Delta = (log P+ - log P_S) (1 - P_earlier): what was known before gets none."""
    gain_BT = privileged_gain(inputs.logp("plus"), inputs.logp("student"), inputs.mask_BT)
    known_BT = torch.where(inputs.mask_BT.bool(), inputs.logp("bare@earlier").exp(), 0.0)
    return credit_from(inputs, gain_BT * (1.0 - known_BT))


register(
    Rule("new", "RLSD's evidence where an earlier model is unsure", ("plus", "student", "bare@earlier"), assign_new)
)


def main(output_dir: str = "runs/own-teacher", max_steps: int = 3) -> CEPOTrainer:
    rows = [problem_row(problem) for problem in generate_problems("train", 64, seed=0, families=["isosceles"])]
    for row in rows:
        row["teacher_prompt"] = "Look twice. " + row["prompt"][-1]["content"]
    config = CEPOConfig(
        output_dir=output_dir,
        method="new",
        teachers={"earlier": "tiny"},
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
    trainer = CEPOTrainer(str(EMBEDDED), accuracy_reward, config, train_dataset=Dataset.from_list(rows))
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
