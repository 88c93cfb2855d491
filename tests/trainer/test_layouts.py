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
from cepo.credit.divergence import full_vocabulary, generalised_jsd
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.step import Asking, StepCredit, plan_scoring
from cepo.data.pictures import with_pictures
from cepo.errors import DataError, ModelError
from cepo.scoring import OtherImages, ScoreRow, score
from cepo.scoring.probe import probe
from cepo.trainer import trainer as hook
from cepo.trainer.balance.batches import Balancer
from cepo.trainer.batch import Batch
from cepo.trainer.batch_rows import replaced
from cepo.trainer.image_checks import FirstImages, check_other_layout
from cepo.trainer.prompt_host import PromptHost
from tests.gpu import ON_GPU
from tests.layouts import LAYOUTS, Toy, paligemma, picture, rows_of
from tests.trainer.small_text import every_other

SETTINGS: dict[str, Any] = {
    "use_cpu": not ON_GPU, "report_to": [], "bf16": False, "seed": 3, "max_steps": 1, "save_strategy": "no",
    "logging_steps": 1, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 8,
    "num_generations": 2, "max_completion_length": 6, "gradient_checkpointing": False, "wrong_reward": "every_other",
    "credit_precision": "float32", "trace_groups": 1, "null_control_every": 0, "reference_minus": "word_none",
}  # fmt: skip
PICTURES = [[picture(0)], [picture(1, 20, 36)], [picture(2), picture(3, 40, 20)], [picture(4, 18, 18)]]
"""Of four problems: images of other shapes, which other layouts cut into tiles, and two in one row."""


@pytest.fixture(params=LAYOUTS)
def toy(request: pytest.FixtureRequest) -> Toy:
    return LAYOUTS[request.param]()


def on(*names: str) -> pytest.MarkDecorator:
    """These layouts, and the others in `make test-long`."""
    long = pytest.mark.long
    return pytest.mark.parametrize(
        "toy", [name if name in names else pytest.param(name, marks=long) for name in LAYOUTS], indirect=True
    )


def plain_logits(toy: Toy, row: dict[str, Any], ids: list[int], completion: list[int]) -> Tensor:
    """Logits of a completion behind a prompt's ids, from the model's own forward on what its processor gives of the
    row, (T, V): each tensor as long as the prompt is made longer with zeros."""
    prompt, images = prepare_multimodal_messages(row["prompt"], images=row["images"]), [row["images"]]
    text = toy.processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    inputs = toy.processor(text=[text], images=images if row["images"] else None, return_tensors="pt")
    student, whole = inputs.pop("input_ids"), torch.tensor([[*ids, *completion]], device=toy.model.device)
    inputs.pop("attention_mask")
    for name, value in inputs.items():
        if value.shape == student.shape:
            inputs[name] = torch.nn.functional.pad(value, (0, whole.shape[1] - student.shape[1]))
    inputs = inputs.to(whole.device)
    with torch.no_grad():
        return toy.model(input_ids=whole, attention_mask=torch.ones_like(whole), **inputs).logits[0, len(ids) - 1 : -1]


def plain(toy: Toy, row: dict[str, Any], ids: list[int], completion: list[int]) -> Tensor:
    """Log-probs of the same, (T,)."""
    logp_TV = plain_logits(toy, row, ids, completion).log_softmax(dim=-1)
    return logp_TV.gather(1, torch.tensor(completion, device=logp_TV.device)[:, None])[:, 0]


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


@on("llava", "llava_next", "gemma3", "idefics3", "internvl")
def test_evidence_is_the_plain_forwards(toy: Toy) -> None:
    token = toy.model.config.image_token_id
    made = told(toy, rows_of(*PICTURES[1:3]))
    own = [plain(toy, row, [*one.prompt_ids], [*one.completion_ids]) for row, one in made]
    rows = [row for _, row in made]
    for share in (True, False):
        found = score(toy.model, rows, width=6, precision="float32", image_token_id=token, share=share)
        assert max((f[: len(o)] - o).abs().max().item() for f, o in zip(found, own, strict=True)) < 1e-5
    found = probe(toy.model, rows, image_token_id=token)
    assert found.difference < 1e-5
    assert not found.why_whole


def make(toy: Toy, folder: Path, rows: Any = None, rewards: Any = every_other, **fields: Any) -> Any:
    torch.manual_seed(0)
    data = with_pictures(Dataset.from_list(rows_of(*PICTURES) if rows is None else rows))
    return CEPOTrainer(
        toy.model, [rewards], CEPOConfig(**{"output_dir": str(folder / "run"), **SETTINGS, **fields}),
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


@on("llava", "llava_next", "gemma3", "idefics3", "internvl")
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
    blind = Asking(trainer.prompts, trainer.image_token_id, sees_images=False)
    rows = Batch(batch).having(advantages=torch.ones(8)).rows([row["prompt"] for row in inputs], step.groups)
    for request in plan_scoring(rows, step.references, trainer.method, blind):
        if request.prompt != "student":
            assert request.sequence.images is None
            assert toy.model.config.image_token_id not in request.sequence.prompt_ids


@on("llava_next")
def test_a_run_of_credit_beside_one_without(toy: Toy, tmp_path: Path) -> None:
    """The credit of strength 0 is TRL's own update, bit for bit; another is not, and neither is a distillation."""
    start, found = {name: value.clone() for name, value in toy.model.state_dict().items()}, {}
    fields = {"max_steps": 2, "per_device_train_batch_size": 4, "steps_per_generation": 2}
    for name, own in {
        "grpo": {},
        "none": {"credit_strength": 0.0},
        "cepo": {},
        "opsd": {"learning_rate": 0.01},
    }.items():
        toy.model.load_state_dict(start)
        method = "cepo" if name == "none" else name
        make(toy, tmp_path / name, method=method, null_control_every=1, **fields | own).train()
        found[name] = {name: value.clone() for name, value in toy.model.state_dict().items()}
    assert (tmp_path / "cepo" / "run" / "traces" / "credit.jsonl").exists()
    alike = {name: all(torch.equal(value, found["grpo"][key]) for key, value in found[name].items()) for name in found}
    assert alike == {"grpo": True, "none": True, "cepo": False, "opsd": False}
    assert all(value.isfinite().all() for weights in found.values() for value in weights.values())


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


@on("idefics3", "internvl")
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
    parts = list(map(trl_utils.unsplit_pixel_values_by_grid, trl_utils.split_tensor_dict(shuffled, 4)))
    dealt = Balancer(trainer.accelerator, window=4, pad_id=0)(parts)
    assert sorted(int(value) for part in dealt for value in part["advantages"]) == list(range(1, 8)), "row 0 is dead"
    for part in [*parts, *dealt]:
        check(part, [int(value) for value in part["advantages"]])
    check(dict(whole.taking([6, 1, 4]).raw), [6, 1, 4])
    fresh = whole.taking([0, 2, 4])
    check(dict(replaced(whole, {3: 1, 7: 2}, fresh, 0).raw), [0, 1, 2, 2, 4, 5, 6, 4])
    texts = [row for row in range(8) if not inputs[row]["images"]]
    if texts:
        check(dict(replaced(whole.taking(texts), {0: 2}, fresh, 0).raw), [4, *texts[1:]])


def _rows(batch: Batch) -> list[ScoreRow]:
    return [
        ScoreRow(prompt, completion, images)
        for prompt, completion, images in zip(batch.prompts(), batch.completions(), batch.images(), strict=True)
    ]


@on("gemma3", "llava_next")
@pytest.mark.parametrize("own", [pytest.param(False, marks=pytest.mark.long), True], ids=["students", "of_their_own"])
def test_a_distillation_teaches_what_the_model_says(own: bool, toy: Toy, tmp_path: Path) -> None:
    """`own`: teachers are shown other pictures than the student."""
    rows = rows_of(*PICTURES)
    if own:
        others = [
            [picture(20 + place + len(row["images"]), 40, 24) for _ in row["images"]] for place, row in enumerate(rows)
        ]
        rows = [row | {"teacher_images": images} for row, images in zip(rows, others, strict=True)]
    trainer = make(toy, tmp_path, rows, method="opsd")
    inputs, raw = generated(trainer)
    whole, total, count = Batch(raw), 0.0, 0
    now = Toy(trainer.model.eval(), toy.processor)
    for row, (student, teacher, completion) in enumerate(
        zip(whole.prompts(), whole.teacher_prompts, whole.completions(), strict=True)
    ):
        shown = inputs[row] | ({"images": inputs[row]["teacher_images"]} if own else {})
        logits = [plain_logits(now, *one, completion) for one in ((inputs[row], student), (shown, teacher))]
        total += generalised_jsd(*full_vocabulary(*logits), trainer.credit.distill_beta).sum().item()
        count += len(completion)
    for rows_of_part in (range(8), [5, 2]):
        part = whole.taking(list(rows_of_part)).having(taught_tokens=whole.taught_tokens)
        found = trainer._distillation.loss(trainer.model, trainer.policy, part, 1.0)
        found.backward()
        if len(part) == 8:
            torch.testing.assert_close(found.item(), total / count, atol=1e-6, rtol=1e-4)
    assert total > 1e-3


@on("idefics3")
def test_a_run_with_all_that_moves_rows(toy: Toy, tmp_path: Path) -> None:
    """Mixed rows, dead groups drawn anew and left out of updates, null contrasts, records."""
    seed = iter(range(10_000))

    def every_other(completions: list[Any], **_: Any) -> list[float]:
        drawn = next(seed)
        return [float(row % 2 and (row // 2 + drawn) % 3 > 0) for row in range(len(completions))]

    trainer = make(
        toy, tmp_path, rows_of(*MIXED, *MIXED), rewards=every_other, method="cepo", max_steps=3, steps_per_generation=4,
        per_device_train_batch_size=2, gradient_accumulation_steps=4, resample_dead_groups=2, skip_dead_groups=True,
        balance_batch=True, null_control_every=1,
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "resample/groups_replaced" in entry]
    assert max(entry["resample/groups_replaced"] for entry in logged) > 0
    assert all("credit/null_p90" in entry and entry["credit/rows_nonfinite"] == 0 for entry in logged)
    assert all(value.isfinite().all() for value in trainer.model.parameters())


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("toy", ["idefics3"], indirect=True)
def test_none_and_several_in_a_layout_without_counts(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="by their number alone"):
        make(toy, tmp_path, rows_of(*2 * [[picture(0), picture(1)], []]), method="cepo")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its processor's
def test_paligemma_sees_the_completions_that_it_is_trained_on(tmp_path: Path) -> None:
    """TRL gives completions the token type of the prompt, among which PaliGemma attends in both directions."""
    toy, rows = paligemma(), rows_of(*2 * [[picture(0)], [picture(1)]])
    with pytest.raises(ModelError, match="PaliGemmaForConditionalGeneration sees the tokens that it predicts"):
        make(toy, tmp_path, rows, method="cepo", prompt_style="prefill")
    trainer = make(toy, tmp_path, rows, method="grpo")
    _, batch = generated(trainer)
    before = trl_logps(trainer, batch)
    batch["completion_ids"][:, -1] = 7
    moved = (trl_logps(trainer, batch) - before)[:, :-1].abs().max()
    assert moved > 1e-3


@pytest.mark.parametrize("toy", ["llava"], indirect=True)
def test_fields_that_trl_does_not_hand_on(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(toy.processor).__call__
    monkeypatch.setattr(
        type(toy.processor), "__call__", lambda *a, **k: (made := real(*a, **k)).update(aspect_ratio_ids=[[1]]) or made
    )
    with pytest.raises(ModelError, match="aspect_ratio_ids with its images, which TRL does not hand on"):
        make(toy, tmp_path, method="cepo")


@pytest.mark.parametrize("toy", ["llava"], indirect=True)
def test_pictures_that_do_not_fit_into_one_batch(toy: Toy, tmp_path: Path) -> None:
    toy.processor.image_processor.do_center_crop = False
    with pytest.raises(ModelError, match="other numbers or sizes of images, such as rows 0, 1"):
        make(toy, tmp_path, rows_of(*2 * [[picture(0, 16, 16)], [picture(1, 16, 24)]]), method="cepo")


@pytest.mark.parametrize("toy", ["llava_next"], indirect=True)
def test_a_batch_that_says_otherwise_whose_images_are_whose(toy: Toy, tmp_path: Path) -> None:
    trainer = make(toy, tmp_path, method="cepo")
    inputs, raw = generated(trainer)
    swapped = raw | {"pixel_values": raw["pixel_values"].flip(0)}
    with pytest.raises(ModelError, match="does not have the images"):
        FirstImages(trainer.encoded)(Batch(swapped), inputs)
    FirstImages(trainer.encoded)(Batch(raw), inputs)


@pytest.mark.parametrize("toy", ["llava"], indirect=True)
def test_the_trainer_looks_at_its_first_batch(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(toy, tmp_path, method="cepo")
    real = trainer.make_batch

    def swapping(rows: Any, generate: Any) -> Any:
        return real(rows, lambda given: (made := generate(given)) | {"pixel_values": made["pixel_values"].flip(0)})

    monkeypatch.setattr(trainer, "make_batch", swapping)
    trainer.model.train()
    with pytest.raises(ModelError, match="row 0 of the generated batch does not have the images"):
        trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


@pytest.mark.parametrize("toy", ["llava"], indirect=True)
def test_sharded_weights(toy: Toy) -> None:
    rows = [ScoreRow([1], [2], OtherImages({"pixel_values": torch.zeros(1, 3, 2, 2)}, {}))]
    with pytest.raises(ModelError, match="a row at a time"):
        check_other_layout(rows, None, True, lambda _: None)
