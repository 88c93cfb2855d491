"""OPSD and SDPO on the trainer: whom they teach, what their loss is, and that it goes down."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3VLForConditionalGeneration

import cepo.trainer.distillation as distillation
from cepo.credit.divergence import full_vocabulary, generalised_jsd, student_top_k_with_tail
from cepo.credit.references import ReferencePolicy, choose_references
from cepo.glossary import Group, Rollout
from cepo.models.embedded import EMBEDDED
from cepo.scoring.logits import logits_map
from cepo.trainer.batch import Batch
from tests.trainer.conftest import MakeTrainer, parameters


def first_batch(trainer: Any) -> dict[str, Any]:
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer._generate_and_score_completions(inputs)


def naive_loss(trainer: Any, batch: dict[str, Any], top_k: int = 0) -> torch.Tensor:
    """Row by row with all logits: mean over the taught tokens of all taught rows."""
    token, pixel, total, count = trainer.image_token_id, 0, 0.0, 0
    for row in range(len(batch["taught"])):
        patches = int(batch["image_grid_thw"][row].prod())
        images = {
            "pixel_values": batch["pixel_values"][pixel : pixel + patches],
            "image_grid_thw": batch["image_grid_thw"][row : row + 1],
        }
        pixel += patches
        if not batch["taught"][row]:
            continue
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        logits = []
        for ids, mask in (("prompt_ids", "prompt_mask"), ("teacher_ids", "teacher_mask")):
            prompt = batch[ids][row][batch[mask][row].bool()]
            whole = torch.cat([prompt, completion])[None]
            kinds = (whole == token).long()
            with torch.no_grad():
                out = trainer.model(input_ids=whole, mm_token_type_ids=kinds, **images).logits[0]
            logits.append(out[len(prompt) - 1 : -1])
        pair = student_top_k_with_tail(*logits, top_k) if top_k else full_vocabulary(*logits)
        total += generalised_jsd(*pair, 0.5).sum().item()
        count += len(completion)
    return torch.tensor(total / count, device=trainer.model.device)


@pytest.mark.parametrize("method", ["opsd", "sdpo"])
def test_the_loss_is_the_naive_one(method: str, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method=method, distill_top_k=0 if method == "opsd" else 5)
    batch = first_batch(trainer)
    assert batch["taught"].any()
    loss = trainer._compute_loss(trainer.model, batch)
    expected = naive_loss(trainer, batch, 0 if method == "opsd" else 5)
    assert expected > 1e-3
    torch.testing.assert_close(loss.detach(), expected, atol=1e-5, rtol=1e-4)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trainer.model.parameters())


class Capped(Qwen3VLForConditionalGeneration):
    """Logits capped after the output layer."""

    @wraps(Qwen3VLForConditionalGeneration.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits = 2 * (output.logits / 2).tanh()
        return output


def test_capped_logits_are_the_distributions_that_are_compared(make_trainer: MakeTrainer) -> None:
    model = Capped.from_pretrained(EMBEDDED, dtype=torch.float32, attn_implementation="eager")
    trainer = make_trainer(method="opsd", model=model)
    batch = first_batch(trainer)
    expected = naive_loss(trainer, batch)
    assert expected > 1e-3
    torch.testing.assert_close(trainer._compute_loss(trainer.model, batch).detach(), expected, atol=1e-5, rtol=1e-4)


def test_accumulation_adds_up_to_the_whole(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="opsd", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    batch = first_batch(trainer)
    trainer.current_gradient_accumulation_steps = 2
    halves = []
    grid = batch["image_grid_thw"].prod(dim=1)
    for rows in (slice(0, 4), slice(4, 8)):
        part = {name: v[rows] if isinstance(v, torch.Tensor) and v.dim() and len(v) == 8 else v
                for name, v in batch.items() if name not in ("pixel_values", "num_images")}  # fmt: skip
        start = int(grid[: rows.start].sum())
        part["pixel_values"] = batch["pixel_values"][start : start + int(grid[rows].sum())]
        part["num_images"] = batch["num_images"][rows]
        halves.append(trainer._compute_loss(trainer.model, part).detach())
    torch.testing.assert_close(sum(halves), naive_loss(trainer, batch), atol=1e-5, rtol=1e-4)


def test_the_loss_goes_down_and_the_teacher_stays(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="opsd")
    batch = first_batch(trainer)
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=3e-4)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_teacher_sees_the_image(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="opsd")
    batch = first_batch(trainer)
    teacher, other = (
        trainer._distillation._teacher_states(trainer.policy, Batch(seen), [0])[0]
        for seen in (batch, batch | {"pixel_values": -batch["pixel_values"]})
    )
    assert (teacher - other).abs().max() > 1e-2


def test_no_more_logits_than_a_chunk(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(method="opsd")
    batch = first_batch(trainer)
    vocabulary = trainer.model.config.get_text_config().vocab_size
    logits_map(trainer.policy)  # measured once, in a forward of two tokens
    monkeypatch.setattr(distillation, "LOGITS_PER_CHUNK", vocabulary * 4 * 16)
    shapes: set[tuple[int, ...]] = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.shape[-1] == vocabulary:
                    shapes.add(tuple(tensor.shape))
            return out

    with Watch():
        trainer._compute_loss(trainer.model, batch).backward()
    assert max(shape[0] for shape in shapes if shape != (trainer.model.config.text_config.hidden_size,)) <= 192
    assert (16, vocabulary) in shapes


def told_by_peers(group: Group) -> list[tuple[str, ...]]:
    chosen = choose_references(group, ["peer"], ReferencePolicy(), step=1, index=0)
    return [told["peer"].texts for told in chosen]


def test_whom_sdpo_teaches() -> None:
    group = Group("1", tuple(Rollout(t, "1", c, float(c)) for t, c in (("a", True), ("b", False), ("c", True))))
    assert told_by_peers(group) == [("c",), ("a",), ("a",)]
    alone = Group("1", (Rollout("a", "1", True, 1.0), Rollout("b", "2", False, 0.0)))
    assert told_by_peers(alone) == [(), ("a",)]


def test_untaught_rows_and_batches_cost_nothing(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    impossible = Dataset.from_list([row | {"answer": "98765"} for row in rows])
    trainer = make_trainer(method="sdpo", train_dataset=impossible)
    start = parameters(trainer)
    trainer.train()
    after = parameters(trainer)
    assert all(torch.equal(start[name], after[name]) for name in start)
    assert trainer.state.log_history[0]["distill/rows_taught"] == 0.0


def test_opsd_falls_back_to_answers(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    without = Dataset.from_list([{k: v for k, v in row.items() if k != "solution"} for row in rows])
    batch = first_batch(make_trainer(method="opsd", train_dataset=without))
    assert batch["taught"].all()


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "opsd", "distill_top_k": 5, "distill_beta": 0.0},
        {"method": "sdpo", "num_iterations": 2, "max_steps": 3},
        {"method": "sdpo", "gradient_accumulation_steps": 2, "bf16": True, "max_steps": 1},
        {"method": "opsd", "peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"])},
        {"method": "opsd", "peft_config": LoraConfig(r=4, target_modules=["q_proj"]), "teacher_weights": "base"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values()))[:60],
)
def test_it_trains_with(fields: dict[str, Any], make_text_trainer: MakeTrainer) -> None:
    trainer = make_text_trainer(**fields)
    start = parameters(trainer)
    trainer.train()
    after = parameters(trainer)
    assert all(torch.isfinite(p).all() for p in after.values())
    assert any(not torch.equal(start[name], after[name]) for name in start)
    logged = [entry for entry in trainer.state.log_history if "distill/loss" in entry]
    assert len(logged) == trainer.args.max_steps


def test_a_teacher_without_images_trains(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method="sdpo", teacher_sees_images=False, distill_beta=1.0, max_steps=1)
    trainer.train()
    assert all(torch.isfinite(p).all() for p in parameters(trainer).values())


def test_resume_equals_uninterrupted(make_text_trainer: MakeTrainer, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"method": "sdpo", "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = make_text_trainer(output_dir=str(tmp_path / "run"), **fields)
    whole.train()
    resumed = make_text_trainer(output_dir=str(tmp_path / "run"), **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    a, b = parameters(whole), parameters(resumed)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "sdpo", "distill_top_k": 0}, "distill_top_k"),
        ({"method": "opsd", "distill_beta": 2.0}, r"2\.0"),
        ({"method": "opsd", "distill_top_k": -1}, "-1"),
        ({"method": "opsd", "answer_column": "gold"}, "no column 'gold'"),
    ],
)
def test_refusals(fields: dict[str, Any], words: str, make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    data = Dataset.from_list([{k: v for k, v in row.items() if k != "solution"} for row in rows])
    with pytest.raises(ValueError, match=words):
        make_trainer(train_dataset=data, **fields)
