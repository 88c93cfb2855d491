"""Teachers with a prompt, images or a thinking mode of their own: what is scored, what is recorded, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image

from cepo.data.datasets import DataSpec, load_data
from cepo.errors import DataError
from cepo.models.processor import load_processor
from cepo.runs.evaluation import first_prompts
from cepo.trainer.teacher_view import teacher_row
from tests.runs.small import write_model
from tests.trainer.conftest import MakeTrainer
from tests.trainer.small_text import build, problems

Rows = list[dict[str, Any]]
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if thinking %}{{ 'I think' }}{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture
def make(small: Path, tmp_path: Path) -> Callable[..., Any]:
    return lambda **fields: build(small, tmp_path, **{"method": "rlsd", "shuffle_dataset": False, **fields})


def with_column(rows: Any, **columns: Any) -> Dataset:
    return Dataset.from_list([row | {name: make(row) for name, make in columns.items()} for row in rows])


def scored(trainer: Any) -> list[Any]:
    """One generation; the sequences that were scored."""
    seen: list[Any] = []
    scorer = trainer.scorer

    def watching(sequences: Any, width: int) -> torch.Tensor:
        seen.extend(sequences)
        return scorer(sequences, width)

    trainer.scorer = watching
    trainer.model.train()
    torch.manual_seed(1)
    trainer.made = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    return seen


def words(row: Any) -> str:
    return row["prompt"][-1]["content"]


def test_the_students_own_prompt_as_a_column_changes_nothing(make: Any) -> None:
    plain, own = make(), make(data=with_column(problems(), teacher_prompt=lambda row: row["prompt"]))
    first, second = scored(plain), scored(own)
    assert first
    assert [one.prompt_ids for one in first] == [one.prompt_ids for one in second]
    torch.testing.assert_close(plain.made["advantages"], own.made["advantages"], atol=1e-6, rtol=0)
    assert plain.made["advantages"].dim() == 2


def test_a_text_stands_for_the_words_of_the_last_turn(make: Any) -> None:
    data = with_column(problems(), teacher_prompt=lambda row: "Read twice. " + words(row))
    trainer = make(data=data, trace_groups=1)
    texts = {trainer.tokenizer.decode(one.prompt_ids) for one in scored(trainer)}
    with_words = {text for text in texts if "Read twice. 0+3=? (The answer to this problem is 3." in text}
    assert len(with_words) == 1
    assert texts > with_words
    assert all("Read" not in text and "The answer" not in text for text in texts - with_words), "the student's own"
    shown: Any = first_prompts(trainer)
    assert "Read twice. 0+3=?" in shown["teachers"]["plus"]
    assert "Read twice." not in shown["training"]


def test_training_teachers_and_evaluation_show_images_at_one_size(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    told: Any = first_prompts(trainer)["image_tokens"]
    assert told["training"] == told["evaluation"] > 0
    assert set(told["teachers"].values()) == {told["training"]}
    images: Any = trainer.processing_class
    size = images.image_processor.size
    images.image_processor.size = type(size)(**{**dict(size), "shortest_edge": 1024, "longest_edge": 4096})
    try:
        smaller: Any = first_prompts(trainer)["image_tokens"]
    finally:
        images.image_processor.size = size
    assert 0 < smaller["training"] < told["training"]
    assert smaller["training"] == smaller["evaluation"] == smaller["teachers"]["plus"]


def test_distillations_read_it_too(make: Any) -> None:
    for method in ("opsd", "sdpo"):
        trainer = make(method=method, data=with_column(problems(), teacher_prompt=lambda row: "Twice: " + words(row)))
        scored(trainer)
        ids, mask = (trainer.made[f"teacher_{name}"] for name in ("ids", "mask"))
        told = [trainer.tokenizer.decode(row[kept.bool()]) for row, kept in zip(ids, mask, strict=True)]
        assert all("Twice: 0+3=? (" in text for text in told if text)
        assert any(told)


def test_thinking_on_for_the_teacher_alone(make: Any, small: Path) -> None:
    assert make(teacher_chat_template_kwargs='{"a": 1}').args.teacher_template == {"a": 1}
    tokenizer: Any = load_processor(str(small))
    tokenizer.chat_template = THINKING
    trainer = make(
        tokenizer=tokenizer, chat_template_kwargs={"thinking": False}, teacher_chat_template_kwargs={"thinking": True}
    )
    texts = [tokenizer.decode(one.prompt_ids) for one in scored(trainer)]
    told = [text for text in texts if "The answer to this problem is" in text]
    assert told
    assert all(text.endswith("assistant\nI think") for text in told)
    assert {text for text in texts if "I think" not in text} == {text for text in texts if text not in told}


@pytest.mark.parametrize("text", ["{thinking: true}", "[1]"])
def test_template_arguments_that_are_no_mapping(text: str, make: Any) -> None:
    with pytest.raises(ValueError, match="teacher_chat_template_kwargs is a mapping"):
        make(teacher_chat_template_kwargs=text)


def test_rows_without_the_column_are_named(make: Any) -> None:
    data = with_column(problems(), teacher_prompt=lambda row: None if row["id"] in ("3", "7") else "x")
    with pytest.raises(DataError, match="2 of 10 rows have no teacher_prompt, such as rows 3, 7: fill them in"):
        make(data=data)
    make(method="grpo", data=data)  # nobody is asked


def test_control_tokens_of_a_text_are_refused(make: Any) -> None:
    data = with_column(problems(), teacher_prompt=lambda row: "x <|im_end|> y" if row["id"] == "2" else "x")
    with pytest.raises(DataError, match=r"1 of 10 rows have a teacher_prompt .*: row 2: its text holds '<\|im_end\|>'"):
        make(data=data)
    trainer = make(data=data.select([2] * 4).to_iterable_dataset(), shuffle_dataset=True)
    with pytest.raises(DataError, match="a control token"):
        trainer.train()


def test_teachers_see_their_own_images(make_trainer: MakeTrainer, rows: Rows) -> None:
    """In the probe, and in the loss of a distillation whose batch is shuffled and cut."""
    blank = Image.new("RGB", (64, 64), "white")
    data = with_column(rows, teacher_images=lambda row: [blank, *row["images"]])
    fields = {"method": "opsd", "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    trainer: Any = make_trainer(**fields, max_steps=1, train_dataset=data)
    for row in rows[:2]:
        own = trainer.views.host.encoded({"prompt": row["prompt"], "images": row["images"]})
        ids, images = trainer.encoded(row)
        assert list(own[0]) == list(ids), "the processor makes of it what TRL does"
        assert torch.equal(own[1].pixel_values, images.pixel_values)
    seen: list[tuple[int, int]] = []
    states = trainer._distillation._states_of

    def watching(policy: Any, sequences: Any, *others: Any) -> Any:
        per_image = trainer.image_token_id
        seen.extend((len(one.images.grid_thw), one.prompt_ids.count(per_image)) for one in sequences)
        return states(policy, sequences, *others)

    trainer._distillation._states_of = watching
    trainer.train()
    assert len(seen) == 8
    assert {count for count, _ in seen} == {2}
    with pytest.raises(DataError, match="teacher_sees_images=False leaves them out"):
        make_trainer(train_dataset=data, teacher_sees_images=False)
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "x?"}]}]
    with pytest.raises(DataError, match="row 0: it has 2 image parts, and there are 1 images"):
        make_trainer(train_dataset=with_column(rows[:4], teacher_prompt=lambda _: parts))


def test_a_text_models_images_have_no_use(make: Any) -> None:
    data = with_column(problems(), teacher_images=lambda _: [Image.new("RGB", (8, 8))])
    with pytest.raises(DataError, match="teacher_images has no use: this model takes no images"):
        make(data=data)


def test_recipes_data_keep_the_columns(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "1+1?"}],
        "answer": "2",
        "teacher_prompt": "1+1, slowly?",
        "teacher_images": [Image.new("RGB", (8, 8))],
    }
    file = tmp_path / "d.parquet"
    Dataset.from_list([row]).to_parquet(file)
    found = load_data(DataSpec(str(file), split="train"))[0]
    assert [message["content"][:12] for message in found["teacher_prompt"]] == ["S", "1+1, slowly?"]
    assert found["teacher_images"][0].size == (8, 8)
    assert teacher_row(found)["prompt"] == found["teacher_prompt"]
    Dataset.from_list([row, row | {"teacher_prompt": None}]).to_parquet(file)
    with pytest.raises(DataError, match="row 1: it has no teacher_prompt, which other rows have"):
        load_data(DataSpec(str(file), split="train"))


def test_a_text_in_place_of_a_turn_in_parts_keeps_its_images() -> None:
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "old"}]}]
    worded: Any = teacher_row({"prompt": parts, "teacher_prompt": "new", "images": [1]})["prompt"]
    assert worded[0]["content"] == [{"type": "image"}, {"type": "text", "text": "new"}]
