"""Images in other layouts than Qwen-VL's: evidence as the plain forward has it, and what a training makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from trl.data_utils import prepare_multimodal_messages
from trl.trainer import utils as trl_utils

from cepo import CEPOConfig, CEPOTrainer
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.step import StepCredit
from cepo.data.pictures import with_pictures
from cepo.scoring import OtherImages, ScoreRow, score
from cepo.scoring.probe import probe
from cepo.trainer import trainer as hook
from cepo.trainer.batch import Batch
from cepo.trainer.prompt_host import PromptHost
from tests.layouts import LAYOUTS, Toy, picture, rows_of
from tests.trainer.small_text import every_other

SETTINGS: dict[str, Any] = {
    "use_cpu": True, "report_to": [], "bf16": False, "seed": 3, "max_steps": 1, "save_strategy": "no",
    "logging_steps": 1, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 8,
    "num_generations": 2, "max_completion_length": 6, "gradient_checkpointing": False, "wrong_reward": "every_other",
    "credit_precision": "float32", "trace_groups": 1, "null_control_every": 0, "reference_minus": "word_none",
}  # fmt: skip
PICTURES = [[picture(0)], [picture(1, 20, 36)], [picture(2), picture(3, 40, 20)], [picture(4, 18, 18)]]
"""Of four problems: images of other shapes, which other layouts cut into tiles, and two in one row."""


@pytest.fixture(params=LAYOUTS)
def toy(request: pytest.FixtureRequest) -> Toy:
    return LAYOUTS[request.param]()


def plain(toy: Toy, row: dict[str, Any], ids: list[int], completion: list[int]) -> Tensor:
    """Log-probs of a completion behind a prompt's ids, from the model's own forward on what its processor gives of the
    row, (T,): each tensor as long as the prompt is made longer with zeros."""
    prompt, images = prepare_multimodal_messages(row["prompt"], images=row["images"]), [row["images"]]
    text = toy.processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    inputs = toy.processor(text=[text], images=images if row["images"] else None, return_tensors="pt")
    student, whole = inputs.pop("input_ids"), torch.tensor([[*ids, *completion]])
    inputs.pop("attention_mask")
    for name, value in inputs.items():
        if value.shape == student.shape:
            inputs[name] = torch.nn.functional.pad(value, (0, whole.shape[1] - student.shape[1]))
    with torch.no_grad():
        logits = toy.model(input_ids=whole, attention_mask=torch.ones_like(whole), **inputs).logits
    logp = logits[0, len(ids) - 1 : -1].log_softmax(dim=-1)
    return logp.gather(1, whole[0, len(ids) :, None])[:, 0]


def told(toy: Toy, rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], ScoreRow]]:
    """Each row's prompt as the student has it, and with a short and a long text told, behind two completions."""
    host = PromptHost(toy.processor, {})
    prompts = TeacherPrompts(host.tokenizer, host.render)
    words = host.tokenizer("so we have the value of it , red green blue", add_special_tokens=False)["input_ids"]
    made = []
    for group, row in enumerate(rows):
        ids, images = host.encoded(row)
        assert isinstance(images, OtherImages) == bool(row["images"])
        for text in (None, "7", "is the value of it , so we have 8 9 yes"):
            of_teacher = prompts.prompt_ids(row["prompt"], ids, text)
            for completion in (words[:6], words[2:5]):
                made.append((row, ScoreRow(of_teacher, completion, images, group)))
    return made


def largest_error(toy: Toy, rows: list[dict[str, Any]], **options: Any) -> float:
    """Between what is scored and the plain forward, nats."""
    made = told(toy, rows)
    found = score(
        toy.model, [row for _, row in made], width=6, precision="float32",
        image_token_id=toy.model.config.image_token_id, **options,
    )  # fmt: skip
    own = [plain(toy, row, [*one.prompt_ids], [*one.completion_ids]) for row, one in made]
    return max((f[: len(o)] - o).abs().max().item() for f, o in zip(found, own, strict=True))


def test_evidence_is_the_plain_forwards(toy: Toy) -> None:
    rows = rows_of(*PICTURES)
    for share in (True, False):
        assert largest_error(toy, rows, share=share) < 1e-5
    probed = [row for _, row in told(toy, rows[1:3])]
    found = probe(toy.model, probed, image_token_id=toy.model.config.image_token_id)
    assert found.difference < 1e-5
    assert not found.why_whole


def make(toy: Toy, folder: Path, rows: Any = None, **fields: Any) -> Any:
    torch.manual_seed(0)
    data = with_pictures(Dataset.from_list(rows_of(*PICTURES) if rows is None else rows))
    return CEPOTrainer(
        toy.model, [every_other], CEPOConfig(**{"output_dir": str(folder / "run"), **SETTINGS, **fields}),
        train_dataset=data, processing_class=toy.processor,
    )  # fmt: skip


def first_step(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], dict[str, Any], StepCredit]:
    """The first batch's rows, the batch, and its credit."""
    seen: list[StepCredit] = []
    real = hook.assign_credit
    monkeypatch.setattr(hook, "assign_credit", lambda *a: seen.append(real(*a)) or seen[-1])
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return inputs, trainer._generate_and_score_completions(inputs), seen[0]


def trl_logps(trainer: Any, batch: dict[str, Any], chunk: int | None = None) -> Tensor:
    """Log-probs of the batch as TRL's loss computes them, (B, T)."""
    left_out = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    with torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            batch["completion_ids"].shape[1],
            batch_size=chunk,
            **{name: value for name, value in batch.items() if name not in left_out},
        )[0]


def test_a_step_scores_the_student_that_trl_trains(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(toy, tmp_path, method="rlsd")
    inputs, batch, step = first_step(trainer, monkeypatch)
    assert len(step.rows) == 8
    mask_BT = batch["completion_mask"].bool()
    student_BT = torch.stack([step.logps[row]["student"] for row in step.rows])
    assert (student_BT - trl_logps(trainer, batch))[mask_BT].abs().max() < 1e-5
    for row, logps in step.logps.items():
        ids = trainer.prompt_ids(inputs[row])
        given = step.references[row]["plus"]
        of_teacher = trainer.prompts.prompt_ids(inputs[row]["prompt"], ids, given.texts[0])
        completion = batch["completion_ids"][row][mask_BT[row]].tolist()
        own_T = plain(replace(toy, model=trainer.model.eval()), inputs[row], of_teacher, completion)
        assert (logps["plus"][: len(own_T)] - own_T).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["cepo", "opsd"])
def test_a_run_trains(toy: Toy, method: str, tmp_path: Path) -> None:
    trainer = make(toy, tmp_path, method=method, max_steps=2, per_device_train_batch_size=4, steps_per_generation=2,
                   null_control_every=1)  # fmt: skip
    before = {name: value.clone() for name, value in toy.model.named_parameters()}
    trainer.train()
    moved = [name for name, value in toy.model.named_parameters() if not torch.equal(value, before[name])]
    assert moved
    assert all(value.isfinite().all() for value in toy.model.parameters())
    assert (tmp_path / "run" / "traces" / "credit.jsonl").exists() or method == "opsd"


# --- what becomes of a batch ------------------------------------------------------------------------------


def generated(trainer: Any) -> tuple[list[Any], dict[str, Any]]:
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    torch.manual_seed(1)
    return inputs, trainer._generate_and_score_completions(inputs)


def own_logps(trainer: Any, row: dict[str, Any], batch: Batch, place: int) -> Tensor:
    """A row's log-probs by a plain forward of what the processor makes of it alone."""
    toy = Toy(trainer.model.eval(), trainer.processing_class)
    return plain(toy, row, [*batch.prompts([place])[0]], batch.completions([place])[0])


MIXED = [[picture(0)], [], [picture(2, 30, 20)], []]


@pytest.mark.parametrize("pictures", [PICTURES, MIXED], ids=["several", "mixed"])
def test_parts_of_a_batch_have_their_own_images(toy: Toy, pictures: Any, tmp_path: Path) -> None:
    """TRL shuffles and splits it; we take rows from it, and put others in their place."""
    trainer = make(toy, tmp_path, rows_of(*pictures), method="grpo")
    inputs, raw = generated(trainer)
    raw["advantages"] = torch.arange(8.0)
    whole = Batch(raw)
    expected = [own_logps(trainer, inputs[row], whole, row) for row in range(8)]

    def check(part: dict[str, Any], rows: list[int]) -> None:
        found = trl_logps(trainer, dict(part))
        scored = score(
            trainer.model, _rows(Batch(part)), width=found.shape[1], precision="float32",
            image_token_id=trainer.image_token_id,
        )  # fmt: skip
        for place, row in enumerate(rows):
            for own in (found, scored):
                assert (own[place, : len(expected[row])] - expected[row]).abs().max() < 1e-5

    shuffled = trl_utils.shuffle_sequence_dict(trl_utils.split_pixel_values_by_grid(dict(raw)))
    for part in map(trl_utils.unsplit_pixel_values_by_grid, trl_utils.split_tensor_dict(shuffled, 4)):
        check(part, [int(value) for value in part["advantages"]])
    check(dict(whole.taking([6, 1, 4]).raw), [6, 1, 4])
    fresh = whole.taking([0, 2, 4])
    check(dict(whole.replacing({3: 1, 7: 2}, fresh, 0).raw), [0, 1, 2, 2, 4, 5, 6, 4])
    texts = [row for row in range(8) if not inputs[row]["images"]]
    if texts:
        check(dict(whole.taking(texts).replacing({0: 2}, fresh, 0).raw), [4, *texts[1:]])


def _rows(batch: Batch) -> list[ScoreRow]:
    return [
        ScoreRow(prompt, completion, images)
        for prompt, completion, images in zip(batch.prompts(), batch.completions(), batch.images(), strict=True)
    ]
