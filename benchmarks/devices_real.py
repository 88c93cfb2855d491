"""Two processes that share their rows, for real: started by `benchmarks/devices.py` through torchrun, with OUT.

Chain problems, completions of drawn ids and log-normal lengths, groups live or dead by a draw, the same in both ways:
rows as they are drawn (with `skip_dead_groups`), and dealt (`balance_batch` too). Alternating in the same processes;
CPU seconds of credit and update of the busier process, and what a step took by the clock.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM

from cepo import CEPOConfig, CEPOTrainer
from cepo.data.datasets import DataSpec, load_data
from cepo.models.embedded import EMBEDDED_TEXT
from cepo.models.processor import load_processor

STEPS, ROUNDS, SIZE, LIVE, LONGEST = 4, 3, 8, 0.5, 384


def drawn_by_chance(completions: list[Any], answer: list[str], trainer_state: Any, **_: Any) -> list[float]:
    """A group is live or dead by its problem and the step."""
    return [
        float(row % 2 and Random(f"{gold}/{trainer_state.global_step}/{row // SIZE}").random() < LIVE)
        for row, gold in enumerate(answer)
    ]


class Canned(CEPOTrainer):
    """Completions of drawn ids, with lengths as of a language model."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        rng = Random(f"{self.accelerator.process_index}/{self.state.global_step}")
        lengths = [min(LONGEST, max(8, round(rng.lognormvariate(4.7, 0.6)))) for _ in prompt_ids]
        return [[rng.randrange(10, 50) for _ in range(length)] for length in lengths], None


def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    own = Qwen3Config.from_pretrained(EMBEDDED_TEXT)
    ids = {name: getattr(own, name) for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    sizes = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 48}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True}
    return Qwen3ForCausalLM(Qwen3Config(**ids, **sizes, **heads))


def seconds(balance: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    """(CPU and clock seconds of credit and update of some steps on this process, the weights after them)."""
    config = CEPOConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, report_to=[], bf16=False, seed=3, max_steps=STEPS, optim="sgd",
        learning_rate=0.05, save_strategy="no", logging_steps=1, per_device_train_batch_size=4,
        gradient_accumulation_steps=8, num_generations=SIZE, max_completion_length=LONGEST, disable_tqdm=True,
        gradient_checkpointing=False, wrong_reward="drawn_by_chance", credit_strength=0.5, credit_schedule="constant",
        trace_groups=0, null_control_every=0, skip_dead_groups=True, balance_batch=balance, warmup_steps=0,
        lr_scheduler_type="constant",
    )  # fmt: skip
    data = Dataset.from_list(load_data(DataSpec("chain", split="train", limit=64)).to_list())
    parts: dict[str, Any] = {"train_dataset": data, "processing_class": load_processor(str(EMBEDDED_TEXT))}
    trainer = Canned(model(), [drawn_by_chance], config, **parts)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    logged = [row for row in trainer.state.log_history if "phase/credit_s" in row]
    found = [
        sum(row[f"phase/{phase}{kind}"] for row in logged for phase in ("credit", "update"))
        for kind in ("_cpu_s", "_s")
    ]
    return found, {
        name: value.detach().clone()
        for name, value in trainer.accelerator.unwrap_model(trainer.model).named_parameters()
    }


def main(out: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seconds(True)
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    weights: dict[bool, Any] = {}
    for _ in range(ROUNDS):
        for balance in (False, True):
            (cpu, clock), weights[balance] = seconds(balance)
            everyone = gather_object([(cpu, clock)])
            times[balance].append((max(one[0] for one in everyone), max(one[1] for one in everyone)))
    start = dict(model().named_parameters())
    apart = max(float((weights[True][name] - weights[False][name]).abs().max()) for name in start)
    learned = max(float((weights[True][name] - start[name]).abs().max()) for name in start)
    if PartialState().is_main_process:
        named = {"as drawn": times[False], "dealt": times[True]}
        found: dict[str, Any] = {
            name: {"cpu": statistics.median(c for c, _ in of), "clock": statistics.median(s for _, s in of)}
            for name, of in named.items()
        }
        out.write_text(json.dumps(found | {"parameters apart": apart, "parameters moved": learned}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
