"""Two training steps on canned completions under DeepSpeed ZeRO (stage 0: without it); writes what each step credited.

Started by `test_deepspeed.py`, through torchrun for two processes, with the arguments OUT ROWS_PER_PROCESS STAGE
full|lora.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig

from cepo import CEPOConfig
from cepo.credit.step import StepCredit
from cepo.data.rewards import accuracy_reward
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.trainer.batch import Batch
from cepo.trainer.resample import Drawn
from tests.trainer.conftest import SETTINGS, embedded
from tests.trainer.two_processes import GROUP, Canned


class Recorded(Canned):
    """Keeps the references, evidence and advantages of every row of every step."""

    def make_batch(self, inputs: list[dict[str, Any]], generate: Any) -> Any:
        self.answers = [row["answer"] for row in inputs]
        return super().make_batch(inputs, generate)

    def _credited(self, step: StepCredit, drawn: Drawn, traced: Any) -> StepCredit:
        self.step = super()._credited(step, drawn, traced)
        return self.step

    def _with_credit(self, drawn: Drawn) -> Batch:
        batch, step = super()._with_credit(drawn), self.step
        assert step.credit is not None
        local = [
            {
                "id": row["id"],
                "advantage": batch.advantages[index].tolist(),
                "evidence": step.credit.evidence_BT[list(step.rows).index(index)].tolist(),
            }
            for index, row in enumerate(drawn.inputs)
        ]
        self.steps = [*getattr(self, "steps", []), gather_object(local)]
        return batch


def zero(stage: int) -> dict[str, Any]:
    """ZeRO of that stage, in fp32; every parameter is sharded at stage 3, however small."""
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
    }


def main(out: Path, rows: int, stage: int, lora: bool) -> None:
    torch.set_num_threads(1)
    dataset = Dataset.from_list([problem_row(problem) for problem in generate("train", 24, seed=5)])
    config = CEPOConfig(
        **SETTINGS
        | {"output_dir": str(out.parent / "run"), "per_device_train_batch_size": rows, "num_generations": GROUP}
        | {"trace_groups": 0, "shuffle_dataset": False, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0}
        | ({"deepspeed": zero(stage)} if stage else {})
    )
    torch.manual_seed(0)
    adapter = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False) if lora else None
    trainer = Recorded(
        embedded(),
        [accuracy_reward],
        config,
        train_dataset=dataset,
        processing_class=load_processor(str(EMBEDDED)),
        peft_config=adapter,
    )
    trainer.train()
    state = trainer.accelerator.state
    if trainer.accelerator.is_main_process:
        local = sum(parameter.numel() for parameter in trainer.model.parameters())
        about = {
            "type": str(trainer.accelerator.distributed_type),
            "processes": trainer.accelerator.num_processes,
            "stage": state.deepspeed_plugin.zero_stage if state.deepspeed_plugin else None,
            "engine": type(trainer.model_wrapped).__name__,
            "parameters_held": local,
        }
        out.write_text(json.dumps({"steps": trainer.steps, **about}))
    trainer.accelerator.wait_for_everyone()
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "lora")
