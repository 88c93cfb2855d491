"""The reinforcement learning: a TRL script with `tools`, and two names changed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TypedDict

from datasets import Dataset
from language import REFERENCE
from tool import calculator
from warm_start import Problem, warm_start

from cepo import CEPOConfig, CEPOTrainer, DataSpec, accuracy_reward, load_data

__all__ = ["Figures", "in_words", "start", "train"]

CHAINS = "chain:steps=4"


class Figures(TypedDict):
    """What a run came to: held-out accuracy before and after, steps, and the seconds that they took."""

    method: str
    seed: int
    before: float
    after: float
    steps: int
    seconds: float


def in_words(found: Figures) -> str:
    return (
        f"{found['method']}, {found['steps']} steps in {found['seconds']:.0f} s: "
        f"held-out accuracy {found['before']:.1%} before, {found['after']:.1%} after"
    )


def problems(split: str, count: int) -> list[Problem]:
    """Chains of cepo's, which have no problem in two splits, to be asked in this example's words."""
    return [Problem.parse(key) for key in load_data(DataSpec(CHAINS, split=split, limit=count))["chain"]]


def rows(split: str, count: int) -> Dataset:
    """As TRL wants them; `answer` is graded, `solution` is what teachers are told."""
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": one.question}], "answer": one.answer, "solution": one.solution}
            for one in problems(split, count)
        ]
    )


def start(steps: int = 600, conversations: int = 3000) -> tuple[Any, Any]:
    """The model that training starts from, and its tokenizer."""
    return warm_start(problems("train", conversations), steps)


def train(
    model: Any, tokenizer: Any, output_dir: str, method: str = "decisive", seed: int = 0, max_steps: int = 40,
    evaluated: int = 64,
) -> Figures:  # fmt: skip
    """Train the model in place; `evaluated` held-out problems are tried eight times each."""
    config = CEPOConfig(
        output_dir=output_dir,
        method=method,
        reference_form="rationale",  # teachers are told solutions: their calls and the answer
        reference_template=REFERENCE,
        max_steps=max_steps,
        seed=seed,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        num_generations=8,
        max_completion_length=80,  # of all turns together, what the tool says included
        learning_rate=6e-4,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        logging_steps=1,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
    )
    trainer = CEPOTrainer(
        model=model,
        reward_funcs=accuracy_reward,
        args=config,
        train_dataset=rows("train", 2000),
        eval_dataset=rows("held_out", evaluated),
        processing_class=tokenizer,
        tools=[calculator],  # as TRL takes them
    )
    before, began = trainer.evaluate()["eval_reward"], time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    # For the report's curves; `cepo train` writes this file by itself.
    (Path(output_dir) / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in trainer.state.log_history))
    after = trainer.evaluate()["eval_reward"]
    return Figures(method=method, seed=seed, before=before, after=after, steps=max_steps, seconds=round(seconds, 1))
