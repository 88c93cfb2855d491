"""A GRPO script on TRL, turned into CEPO: two names, and a column `answer` for r+. `python examples/trl_to_cepo.py`

The model is the embedded one and the data are procedural, so that this runs on a laptop; put your own in their place.
"""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from cepo import (
    EMBEDDED,
    CEPOConfig,  # was: GRPOConfig, from trl
    CEPOTrainer,  # was: GRPOTrainer, from trl
    accuracy_reward,
    generate_problems,
    problem_row,
)


def main(output_dir: str = "runs/trl-to-cepo", max_steps: int = 3) -> CEPOTrainer:
    # Rows as TRL wants them: `prompt` (messages), `images`, and what the reward reads. `answer` is r+.
    dataset = Dataset.from_list([problem_row(problem) for problem in generate_problems("train", 64, seed=0)])
    config = CEPOConfig(  # was: GRPOConfig; every field of it is there
        output_dir=output_dir,
        max_steps=max_steps,
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=64,
        learning_rate=1e-4,
        logging_steps=1,
        bf16=False,
        report_to=[],
        save_strategy="no",
        # method="grpo" would give TRL's parameters, bit for bit.
    )
    trainer = CEPOTrainer(  # was: GRPOTrainer
        model=str(EMBEDDED),
        reward_funcs=accuracy_reward,
        args=config,
        train_dataset=dataset,
    )
    trainer.train()
    print(f"credit records: {Path(output_dir) / 'traces' / 'credit.jsonl'}; look at them: cepo report {output_dir}")
    return trainer


if __name__ == "__main__":
    main()
