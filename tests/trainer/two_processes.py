"""One credited batch of canned completions, on however many processes torchrun starts; writes what it found.

Started by `test_distributed.py` through torchrun with the arguments OUT ROWS_PER_PROCESS METHOD.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset

import cepo.trainer.trainer as module
from cepo import CEPOConfig, CEPOTrainer
from cepo.data.rewards import accuracy_reward
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.trainer.conftest import SETTINGS, embedded

GROUP = 4


class Canned(CEPOTrainer):
    """Every rollout is decided by its global row, so that any number of processes sees the same ones."""

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, fields: Any, count: Any, has_tool_images: bool = False
    ):
        first = self.accelerator.process_index * len(prompt_ids)
        texts = []
        for row, answer in enumerate(self.answers):
            wrong = int(answer) + 1 + (first + row) % 3
            texts.append(f"so \\boxed{{{answer if (first + row) % GROUP in (0, 3) else wrong}}}<|im_end|>")
        return [self.tokenizer(text)["input_ids"] for text in texts], None


def main(out: Path, rows: int, method: str) -> None:
    torch.set_num_threads(1)
    dataset = Dataset.from_list([problem_row(problem) for problem in generate("train", 24, seed=5)])
    config = CEPOConfig(
        **SETTINGS
        | {"output_dir": str(out.parent / "run"), "per_device_train_batch_size": rows, "num_generations": GROUP}
        | {"method": method, "trace_groups": 0, "shuffle_dataset": False}
    )
    processor = load_processor(str(EMBEDDED))
    trainer = Canned(embedded(), [accuracy_reward], config, train_dataset=dataset, processing_class=processor)
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.answers = [row["answer"] for row in inputs]  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    references, assign = module.row_references, module.assign_credit

    def keep_references(*args: Any, **kwargs: Any) -> Any:
        found["references"] = references(*args, **kwargs)
        return found["references"]

    def keep_credit(*args: Any, **kwargs: Any) -> Any:
        found["credit"] = assign(*args, **kwargs)
        return found["credit"]

    module.row_references, module.assign_credit = keep_references, keep_credit
    trainer.model.train()
    batch = trainer._generate_and_score_completions(inputs)
    credit = found["credit"]
    local = [
        {
            "id": row["id"],
            "told": {prompt: list(told.texts) for prompt, told in found["references"][index].items()},
            "advantage": batch["advantages"][index].tolist(),
            "evidence": credit.credit.evidence_BT[credit.rows.index(index)].tolist() if index in credit.rows else None,
        }
        for index, row in enumerate(inputs)
    ]
    everyone = gather_object(local)
    metrics = {name: values for name, values in trainer._metrics["train"].items() if name.startswith("credit/")}
    if trainer.accelerator.is_main_process:
        kind = str(trainer.accelerator.distributed_type)
        out.write_text(json.dumps({"rows": everyone, "metrics": metrics, "type": kind}))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
