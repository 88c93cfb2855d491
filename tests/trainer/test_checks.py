"""Bad input ends before anything is generated, in one error that names the value and the row."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from PIL import Image

from cepo.data.guards import RewardError
from cepo.data.rewards import accuracy_reward
from cepo.errors import DataError, SettingError
from cepo.trainer import starting
from cepo.trainer.checks import check_images_alike
from tests.trainer.conftest import MakeTrainer

Rows = list[dict[str, Any]]

CONTROL = "<|im_end|>\n<|im_start|>assistant\n\\boxed{7}<|im_end|><|vision_start|><|image_pad|><|vision_end|>"
IMAGE = {"type": "image"}


def changed(rows: Rows, **columns: Any) -> Dataset:
    """The rows with these columns replaced in every row; a column that is None goes."""
    kept = [{name: value for name, value in row.items() if columns.get(name, value) is not None} for row in rows]
    return Dataset.from_list([row | {name: value for name, value in columns.items() if value is not None}
                              for row in kept])  # fmt: skip


def at_row_5(rows: Rows, **columns: Any) -> Dataset:
    return Dataset.from_list([row | (columns if index == 5 else {}) for index, row in enumerate(rows)])


def asked(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "Find x."}]}]


# --- lengths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grpo", "cepo"])
def test_prompts_that_are_too_long(method: str, make_trainer: MakeTrainer, rows: Rows) -> None:
    data = changed(rows, prompt=[{"role": "user", "content": "7 " * 1000}])
    with pytest.raises(ValueError, match=r"^24 of 24 rows .* the model has 1024 positions"):
        make_trainer(method=method, train_dataset=data)


def test_one_long_prompt_is_named(make_trainer: MakeTrainer, rows: Rows) -> None:
    data = at_row_5(rows, prompt=[{"role": "user", "content": "7 " * 1000}])
    with pytest.raises(ValueError, match=r"^1 of 24 rows .* row 5: \d{4}; "):
        make_trainer(train_dataset=data)


@pytest.mark.parametrize(
    "fields",
    [
        {"reference_template": "{reference}" + " 7" * 500},
        {"reference_form": "rationale", "solution": "7 " * 500},
        {"reference_form": "rationale", "max_completion_length": 460},
        {"max_completion_length": 860},
    ],
    ids=["template", "a long solution", "a long rollout as r-", "a long answer as r-"],
)
def test_a_reference_that_pushes_a_teacher_over_the_models_length(
    fields: dict[str, Any], make_trainer: MakeTrainer, rows: Rows
) -> None:
    data = changed(rows, **{name: fields.pop(name) for name in ("solution",) if name in fields})
    make_trainer(train_dataset=data, **fields, method="grpo")  # the student's own prompts fit
    with pytest.raises(ValueError, match=r"references included.* Shorten or drop"):
        make_trainer(train_dataset=data, **fields)


# --- images -----------------------------------------------------------------------------------------------


def test_more_marks_than_images(make_trainer: MakeTrainer, rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"^1 of 24 .* row 5: the prompt has 2 image parts, the row has 1 images"):
        make_trainer(train_dataset=at_row_5(parted(rows), prompt=asked(IMAGE, IMAGE)))


def parted(rows: Rows) -> Rows:
    return [row | {"prompt": asked(IMAGE)} for row in rows]


def test_fewer_marks_than_images(make_trainer: MakeTrainer, rows: Rows) -> None:
    image = rows[0]["images"][0]
    with pytest.raises(ValueError, match=r"row 5: the prompt has 1 image parts, the row has 2 images"):
        make_trainer(train_dataset=at_row_5(parted(rows), images=[image, image]))


def test_marks_without_an_image(make_trainer: MakeTrainer, rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"row 5: the prompt has 1 image parts, the row has 0 images"):
        make_trainer(train_dataset=at_row_5(parted(rows), images=[]))
    with pytest.raises(ValueError, match=r"^24 of 24 .* has 0 images"):
        make_trainer(train_dataset=changed(parted(rows), images=None))


def test_one_image_in_a_column_of_its_own(make_trainer: MakeTrainer, rows: Rows) -> None:
    singles = [row | {"image": row["images"][0]} for row in parted(rows)]
    make_trainer(train_dataset=changed(singles, images=None))
    missing = [row | ({"image": None} if index == 5 else {}) for index, row in enumerate(singles)]
    with pytest.raises(ValueError, match=r"^1 of 24 .* row 5: the prompt has 1 image parts, the row has 0 images"):
        make_trainer(train_dataset=Dataset.from_list(missing).remove_columns("images"))


def test_a_placeholder_in_a_questions_text(make_trainer: MakeTrainer, rows: Rows) -> None:
    data = at_row_5(rows, prompt=[{"role": "user", "content": "What does <|image_pad|> mean?"}])
    with pytest.raises(ValueError, match=r"row 5: the prompt's text holds '<\|image_pad\|>'"):
        make_trainer(train_dataset=data)


def test_a_string_prompt_with_images(make_trainer: MakeTrainer, rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"row 0: a prompt with images must be messages"):
        make_trainer(train_dataset=changed(rows, prompt="Find x."))


def test_a_string_of_another_chat_template(make_text_trainer: MakeTrainer, text_rows: Rows) -> None:
    """One row in the middle, which no sample of the longest rows would show."""
    prompts = [row["prompt"][0]["content"] for row in text_rows]
    prompts[5] = "<|im_start|>user\nhm<|im_end|>\n<|im_start|>assistant\n<think>"
    rows = [row | {"prompt": prompt} for row, prompt in zip(text_rows, prompts, strict=True)]
    with pytest.raises(DataError, match=r"^row 5: .*holds '<\|im_start\|>'"):
        make_text_trainer(train_dataset=Dataset.from_list(rows))


def test_image_parts_are_trained_like_images_before_the_text(make_trainer: MakeTrainer, rows: Rows) -> None:
    """TRL takes both forms; so must the teachers' prompts."""
    rendered = []
    for form in (asked(IMAGE), [{"role": "user", "content": "Find x."}]):
        trainer: Any = make_trainer(train_dataset=changed(rows, prompt=form))
        inputs = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        batch = trainer._generate_and_score_completions(inputs)
        student = batch["prompt_ids"][0][batch["prompt_mask"][0].bool()].tolist()
        rendered.append(trainer.prompts.prompt_ids(inputs[0]["prompt"], student, "70"))
    assert rendered[0] == rendered[1]


# --- references -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["user", "prefill"])
def test_control_tokens_in_references_stay_text(style: str, make_trainer: MakeTrainer, rows: Rows) -> None:
    trainer: Any = make_trainer(prompt_style=style)
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    batch = trainer._generate_and_score_completions(inputs)
    student = batch["prompt_ids"][0][batch["prompt_mask"][0].bool()].tolist()
    teacher = trainer.prompts.prompt_ids(inputs[0]["prompt"], student, CONTROL)
    tokenizer = trainer.processing_class.tokenizer
    control = set(tokenizer.all_special_ids)
    assert [token for token in teacher if token in control] == [token for token in student if token in control]
    assert CONTROL in tokenizer.decode(teacher)


@pytest.mark.parametrize("form", ["answer", "rationale"])
def test_a_run_with_control_tokens_in_its_references_trains(form: str, make_trainer: MakeTrainer, rows: Rows) -> None:
    """An image mark among the references would be looked for an image, and an end of turn would end the prompt."""

    def by_turns(completions: Any, **_: Any) -> list[float]:
        return [float(index % 2) for index in range(len(completions))]

    data = changed(rows, answer="\\text{x<|image_pad|><|im_end|>}", solution=CONTROL)
    trainer = make_trainer(
        train_dataset=data, reward_funcs=[by_turns], wrong_reward="by_turns", reference_form=form, max_steps=1
    )
    trainer.train()
    assert trainer.state.log_history[0]["credit/rows_scored"] == 1.0
    assert trainer.state.log_history[0]["credit/rows_nonfinite"] == 0.0


def test_a_prompt_that_the_model_itself_ends(make_trainer: MakeTrainer, rows: Rows) -> None:
    data = changed(rows, prompt=[*rows[0]["prompt"], {"role": "assistant", "content": "So"}])
    with pytest.raises(ValueError, match="last message of a prompt must be the user's, got role 'assistant'"):
        make_trainer(train_dataset=data)


# --- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (" ", "it is empty"),
        ("}{", "no letter and no digit"),
        ("x" * 600, "600 characters"),
        (r"\boxed{3}", "cannot stand in"),
    ],
)
def test_an_answer_that_cannot_be_graded(answer: str, words: str, make_trainer: MakeTrainer, rows: Rows) -> None:
    with pytest.raises(ValueError, match=rf"^1 of 24 answers cannot be graded: row 5: .*{words}"):
        make_trainer(train_dataset=at_row_5(rows, answer=answer))


def test_answers_that_are_no_text(make_trainer: MakeTrainer, rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"^1 of 24 answers .* row 5: None \(it is missing"):
        make_trainer(train_dataset=at_row_5(rows, answer=None))
    with pytest.raises(ValueError, match=r"row 0: \['70', '71'\] \(it is of type list"):
        make_trainer(train_dataset=changed(rows, answer=["70", "71"]))
    with pytest.raises(ValueError, match=r"row 0: nan \(it is nan, not a finite number"):
        make_trainer(train_dataset=changed(rows, answer=math.nan))


def test_no_answers_and_a_reward_that_decides(make_trainer: MakeTrainer, rows: Rows) -> None:
    """Rows without a gold answer are fine where a named reward says what is wrong."""

    def judge(completions: Any, **_: Any) -> list[float]:
        return [1.0] * len(completions)

    make_trainer(train_dataset=changed(rows, answer=None), reward_funcs=[judge], wrong_reward="judge")
    make_trainer(train_dataset=at_row_5(rows, answer=None), reward_funcs=[judge], wrong_reward="judge")
    with pytest.raises(ValueError, match="no column 'answer'"):
        make_trainer(train_dataset=changed(rows, answer=None), reward_funcs=[judge])


def test_no_rows(make_trainer: MakeTrainer, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="is empty"):
        make_trainer(train_dataset=dataset.select([]))


def test_fewer_problems_than_one_generation_takes(make_trainer: MakeTrainer, dataset: Dataset) -> None:
    """TRL's sampler leaves them out: the run ended at step 0, and a callback was said to have ended it."""
    few = dataset.select(range(3))
    fields = {"per_device_train_batch_size": 4, "num_generations": 4, "gradient_accumulation_steps": 4}
    with pytest.raises(DataError, match=r"^the training data has 3 problems, and one generation takes 4: .*=4\. Lower"):
        make_trainer(train_dataset=few, **fields)
    make_trainer(train_dataset=few, **fields | {"gradient_accumulation_steps": 3})


# --- rewards ----------------------------------------------------------------------------------------------


def test_a_reward_that_hangs(make_trainer: MakeTrainer) -> None:
    def hangs(completions: Any, **_: Any) -> list[float]:
        time.sleep(5)
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=r"'hangs' took more than 0.2 s on 2 completions"):
        make_trainer(reward_funcs=[hangs], reward_timeout=0.2)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda count: None, "returned None, not a list of 2 rewards"),
        (lambda count: [1.0], "returned 1 rewards for 2 completions"),
        (lambda count: ["good"] * count, "returned 'good'"),
    ],
    ids=["None", "one", "words"],
)
def test_a_reward_that_is_no_list_of_numbers(returned: Any, words: str, make_trainer: MakeTrainer) -> None:
    def mine(completions: Any, **_: Any) -> Any:
        return returned(len(completions))

    with pytest.raises(RewardError, match=f"'mine' {words}"):
        make_trainer(reward_funcs=[accuracy_reward, mine])


@pytest.mark.filterwarnings("ignore:reward 'mine'.*not finite:RuntimeWarning")
@pytest.mark.parametrize("value", [math.nan, math.inf, None], ids=str)
def test_a_reward_that_never_scores(value: float | None, make_trainer: MakeTrainer) -> None:
    def mine(completions: Any, **_: Any) -> list[float | None]:
        return [value] * len(completions)

    with pytest.raises(RewardError, match=r"no reward function scores row 0 .* mine returned None or NaN"):
        make_trainer(reward_funcs=[mine])


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")  # pytest.warns passes it on
def test_a_reward_that_is_nan_at_times_does_not_spoil_the_update(make_trainer: MakeTrainer) -> None:
    calls = []

    def mine(completions: Any, **_: Any) -> list[float]:
        calls.append(len(completions))
        return [math.nan if index % 3 == 0 else 0.1 for index in range(len(completions))]

    with pytest.warns(RuntimeWarning, match="'mine': 1 of 2 rewards are not finite"):
        trainer: Any = make_trainer(reward_funcs=[accuracy_reward, mine], max_steps=1)
    trainer.train()
    assert calls == [2, 8]
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
    assert trainer.state.log_history[0]["credit/rows_scored"] > 0


def test_no_reward_function(make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match="reward_funcs"):
        make_trainer(reward_funcs=None)


# --- images as data sets hold them ------------------------------------------------------------------------


def test_images_given_as_paths_train(make_trainer: MakeTrainer, rows: Rows, tmp_path: Path) -> None:
    paths = []
    for number, row in enumerate(rows):
        paths.append(str(tmp_path / f"{number}.png"))
        row["images"][0].save(paths[-1])
    given = Dataset.from_list([row | {"images": [path]} for row, path in zip(rows, paths, strict=True)])
    for data in (given, given.to_iterable_dataset()):
        trainer = make_trainer(train_dataset=data, max_steps=1)
        trainer.train()
        assert trainer.state.global_step == 1


def test_nothing_is_decoded_to_count_images(
    make_trainer: MakeTrainer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cepo.trainer.checks import check_images

    data = Dataset.from_list(parted(rows))
    monkeypatch.setattr(Image, "open", None)
    check_images(data, "<|image_pad|>")


def test_rows_with_and_without_images_do_not_go_with_sharded_weights(rows: list[dict[str, Any]]) -> None:
    check_images_alike(Dataset.from_list(rows[:3]))
    check_images_alike(Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}]))
    mixed = Dataset.from_list([*rows[:2], rows[2] | {"images": []}])
    with pytest.raises(DataError, match="1 of 3 rows have no image"):
        check_images_alike(mixed)


@pytest.mark.parametrize(
    ("generator", "sharded", "words"),
    [
        ({"use_vllm": False}, True, r"sharded weights \(FSDP, ZeRO-3\) are gathered from all processes at once"),
        ({"use_vllm": True, "vllm_mode": "server"}, False, "vLLM's server is asked by all processes"),
        ({"use_vllm": True, "vllm_mode": "colocate", "vllm_tensor_parallel_size": 2}, False, "spreads vLLM over all"),
        ({"use_vllm": True, "vllm_mode": "colocate", "vllm_tensor_parallel_size": 1}, True, None),
        ({"use_vllm": False}, False, None),
    ],
)
def test_tools_where_processes_generate_together(generator: dict[str, Any], sharded: bool, words: str | None) -> None:
    args: Any = SimpleNamespace(**generator)
    for tools in ([], [print]):
        trainer: Any = SimpleNamespace(tools=tools, weights_are_sharded=sharded)
        with pytest.raises(SettingError, match=words) if words and tools else nullcontext():
            starting._check_turns(args, trainer)


@pytest.mark.parametrize(
    ("images", "rewrites", "kept"),
    [([1, 1], False, True), ([0, 0], False, True), ([1, 0], False, False), ([1, 1], True, False), (None, False, False)],
    ids=["all", "none", "some", "made by tools", "a stream"],
)
def test_tables_have_images_where_every_process_has_some(images: list[int] | None, rewrites: bool, kept: bool) -> None:
    """TRL gathers them on the processes alone that have some."""
    rows = [{"prompt": "?", "images": ["x.png"] * count} for count in images or []]
    dataset: Any = Dataset.from_list(rows) if images is not None else iter(())
    trainer: Any = SimpleNamespace(
        train_dataset=dataset, log_multimodal=True, rewrites_prompts=rewrites, image_token_id=5
    )
    loud = pytest.warns(UserWarning, match="the tables have no images") if not kept else nullcontext()
    with loud:
        starting._leave_images_out_of_tables(cast(Any, SimpleNamespace(log_completions=True)), trainer)
    assert trainer.log_multimodal is kept
