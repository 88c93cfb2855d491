"""OPSD and SDPO on two processes whose output layer is a weight of its own, one of them without a taught row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cepo.trainer.trainer import CEPOTrainer
from tests.pair import on_two
from tests.runs.small import write_model
from tests.trainer.small_text import build


class Untaught(CEPOTrainer):
    """The second process has no taught row."""

    def make_batch(self, inputs: Any, generate: Any) -> Any:
        batch = super().make_batch(inputs, generate)
        keeps = self.accelerator.is_main_process
        return batch if keeps else {**batch, "taught": torch.zeros_like(batch["taught"])}


def untied(folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(write_model(folder))
    model.config.tie_word_embeddings = False
    torch.manual_seed(1)
    model.lm_head.weight = torch.nn.Parameter(0.02 * torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_every_process_gives_every_weight_a_gradient(tmp_path: Path) -> None:
    """Whether DDP looks for unused weights or not; both processes end with the same, trained, output layer."""
    model = untied(tmp_path / "model")

    def work(rank: int, folder: Path) -> list[tuple[list[float], float]]:
        found = []
        for method, kind, looks in (("opsd", CEPOTrainer, True), ("opsd", Untaught, False), ("sdpo", Untaught, True)):
            trainer = build(model, folder, kind, method=method, max_steps=2, ddp_find_unused_parameters=looks)
            before = trainer.policy.lm_head.weight.detach().clone()
            assert before.data_ptr() != trainer.policy.get_input_embeddings().weight.data_ptr()
            trainer.train()
            moved = (trainer.policy.lm_head.weight - before).abs().max().item()
            found.append(([weight.double().sum().item() for weight in trainer.policy.parameters()], moved))
        return found

    both = on_two(work, tmp_path, seconds=90)
    assert [(one.error, one.hung) for one in both] == [("", False)] * 2
    for (one, moved), (other, _) in zip(*[process.value for process in both], strict=True):
        assert one == other
        assert moved > 1e-3
