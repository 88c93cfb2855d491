"""A reward of one's own beside the verifier's. `python examples/own_reward.py`

Rewards make the advantage, and so the sign and the size of the credit. What counts as *wrong*, and may be told as
r-, is another question: the grader's, who compares the boxed answer with `answer`. `wrong_reward` gives that to a
reward instead, for tasks that have no answers to compare.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from cepo import EMBEDDED, CEPOConfig, CEPOTrainer, accuracy_reward, generate_problems, problem_row


def brevity_reward(completions: list[Any], **columns: Any) -> list[float]:
    """1 for an empty completion, 0 from 200 characters on. Columns of the data come as keyword arguments."""
    texts = [completion[0]["content"] for completion in completions]
    return [max(0.0, 1.0 - len(text) / 200) for text in texts]


def main(output_dir: str = "runs/own-reward", max_steps: int = 3) -> CEPOTrainer:
    dataset = Dataset.from_list([problem_row(problem) for problem in generate_problems("train", 64, seed=0)])
    config = CEPOConfig(
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
        reward_weights=[1.0, 0.1],
        reward_timeout=30.0,  # a call that hangs longer is an error that names the reward
        # wrong_reward="brevity_reward", wrong_below=0.5: then that decides which rollouts are wrong.
    )
    trainer = CEPOTrainer(str(EMBEDDED), [accuracy_reward, brevity_reward], config, train_dataset=dataset)
    trainer.train()
    for name in ("accuracy_reward", "brevity_reward"):
        print(f"{name}: {trainer.state.log_history[0][f'rewards/{name}/mean']:.2f} at the first step")
    return trainer


if __name__ == "__main__":
    main()
