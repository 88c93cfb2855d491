"""A teacher who is told something else, in one file. `python examples/own_prompt.py`

CEPO tells its teachers a right and a wrong answer. Here a third teacher reads a skill card: the theorem that the
problem is about, from a column of the data. One entry in the registry of references makes the prompt known, and the
rule names it beside the others: a token counts as far as the card and the answers agree about it. Scoring, records,
the report, the audit and verl take it from there.
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
    column_source,
    contrastive_evidence,
    credit_from,
    generate_problems,
    problem_row,
    register,
    register_source,
)

CARDS = {
    "triangle_sum": "The angles of a triangle add up to 180 degrees.",
    "isosceles": "The angles at the base of an isosceles triangle are equal.",
    "similar_triangles": "In similar triangles all sides have the same ratio.",
}

register_source(column_source("skill", column="skill_card"))


def assign_agreeing(inputs: Inputs) -> Credit:
    """Delta = CEPO's where log P_skill - log P_S has the same sign, the smaller of the two in size; else 0."""
    answers_BT = contrastive_evidence(inputs.logp("plus"), inputs.logp("minus"), inputs.mask_BT)
    skill_BT = contrastive_evidence(inputs.logp("skill"), inputs.logp("student"), inputs.mask_BT)
    size_BT = torch.minimum(answers_BT.abs(), skill_BT.abs())
    return credit_from(inputs, torch.where(answers_BT * skill_BT > 0, answers_BT.sign() * size_BT, 0.0))


register(
    Rule(
        "agreeing",
        "CEPO's evidence as far as a skill card agrees",
        prompts=("plus", "minus", "skill", "student"),
        assign=assign_agreeing,
    )
)


def main(output_dir: str = "runs/own-prompt", max_steps: int = 3) -> CEPOTrainer:
    problems = generate_problems("train", 64, seed=0, families=list(CARDS))
    rows = [problem_row(problem) | {"skill_card": CARDS[problem.family]} for problem in problems]
    config = CEPOConfig(
        output_dir=output_dir,
        method="agreeing",
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
