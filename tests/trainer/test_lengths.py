"""The length of every row's prompt is known before training, and no row can be too long for the model unseen."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from datasets import Dataset, Features, Image, IterableDataset, List, Value
from PIL import Image as Pillow

from cepo.credit.rules import get_method
from cepo.errors import DataError
from cepo.runs.subject import views_of
from cepo.trainer.config import CEPOConfig
from cepo.trainer.fitting import check_held_out, check_lengths, fitting_stream, without_long_rows
from cepo.trainer.internals_prompts import tokens_of_images
from cepo.trainer.lengths import prompt_lengths, teacher_lengths
from cepo.trainer.prompt_host import PromptHost
from cepo.trainer.subject import Subject
from tests.gpu import ON_GPU

MESSAGE = {"role": Value("string"), "content": Value("string")}
FEATURES = Features({"prompt": List(MESSAGE), "answer": Value("string"), "images": List(Image())})


def subject_for(processor: Any, tmp_path: Any, positions: int = 1024, **fields: Any) -> Subject:
    host = PromptHost(processor, {})
    config = CEPOConfig(output_dir=str(tmp_path), use_cpu=not ON_GPU, bf16=False, max_completion_length=10, **fields)
    views = views_of(host, config)
    return Subject(
        config=config,
        method=get_method(config.method),
        dataset=None,
        prompts=config.credit.teacher_prompts(host.tokenizer, views.host.render),
        render=host.render,
        prompt_ids=host.prompt_ids,
        views=views,
        positions=positions,
        image_tokens=lambda sizes: tokens_of_images(processor, sizes),
    )


@lru_cache
def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def row(
    text: str = "why", images: tuple[tuple[int, int], ...] = (), turns: int = 1, answer: str = "7"
) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[turn % 2], "content": text} for turn in range(turns)]
    return {"prompt": messages, "answer": answer, "images": [{"bytes": png(size), "path": None} for size in images]}


def data_of(*rows: dict[str, Any]) -> Dataset:
    return Dataset.from_list(list(rows), features=FEATURES)


def test_every_length_is_that_of_the_prompt_made(processor: Any, tmp_path: Any) -> None:
    """Text, turns, images of several sizes, controls in the text: to the token, from the images' headers alone."""
    data = data_of(
        row(), row("why " * 30), row(turns=7), row(images=((64, 64),)), row(images=((64, 96), (200, 40))),
        row("<|im_end|>"), row(images=((31, 57),), turns=3),
    )  # fmt: skip
    subject = subject_for(processor, tmp_path)
    made = [len(subject.prompt_ids(one)) for one in data]
    assert prompt_lengths(subject, data) == made
    calls: list[int] = []
    counted = replace(subject, prompt_ids=lambda one: calls.append(1) or subject.prompt_ids(one))
    assert prompt_lengths(counted, data) == made
    assert len(calls) <= 3
    for unsaid in (lambda sizes: None, lambda sizes: [1] * len(sizes)):  # not said, or wrongly: every prompt is made
        assert prompt_lengths(replace(subject, image_tokens=unsaid), data) == made


@pytest.mark.parametrize(
    "bad",
    [row("a", turns=61), row("why " * 55, images=((16, 16),) * 16)],
    ids=["many short turns", "many small images"],
)
def test_the_one_row_that_does_not_fit_is_named(
    bad: dict[str, Any], processor: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each has little text and few pixels: it was neither among the longest nor in the even sample of 64."""
    ordinary, place = [row("why " * 60, images=((320, 320),)), row("why " * 80)], 101
    rows = [ordinary[index % 2] for index in range(200)]
    rows[place] = bad
    data = data_of(*rows)
    subject = subject_for(processor, tmp_path, method="grpo")
    lengths = [len(subject.prompt_ids(one)) for one in data_of(*ordinary, bad)]
    tight = replace(subject, positions=max(lengths[:2]) + 10)
    assert lengths[2] > max(lengths[:2]), "the bad row is to be the longest"
    with pytest.raises(DataError, match=rf"^1 of 200 rows have prompts .* row {place}: "):
        check_lengths(tight, data)
    with caplog.at_level(logging.WARNING, logger="cepo"):
        kept = without_long_rows(tight, data, "these data")
    assert len(kept) == 199
    assert "these data: 1 of 200 rows are left out" in caplog.text
    assert check_lengths(tight, kept).startswith("longest prompt")


def test_what_teachers_are_shown_is_measured_too(processor: Any, tmp_path: Any) -> None:
    """Their own words and images, to the token and from the images' headers; the longer of the two prompts counts."""
    own = [{"role": "user", "content": "why " * 30}]
    rows = [
        {**row(), "teacher_prompt": own, "teacher_images": row(images=((64, 96), (200, 40)))["images"]},
        {**row("why " * 80), "teacher_prompt": own[:1], "teacher_images": []},
    ]
    data = Dataset.from_list(
        rows, features=Features({**FEATURES, "teacher_prompt": List(MESSAGE), "teacher_images": List(Image())})
    )
    subject = subject_for(processor, tmp_path)
    made = [len(view.prompt_ids) for view in map(subject.views, data) if view is not None]  # pyright: ignore[reportArgumentType]
    assert teacher_lengths(subject, data) == made
    told = len(subject.prompts.reference_ids("", "answer")) + 10  # a wrong answer is a rollout's, of up to 10 tokens
    student = prompt_lengths(subject, data)
    assert made[0] > student[0], "the first row's teacher has the longer prompt"
    assert student[1] > made[1] + told, "the second row's student has"
    longest = max(made[0] + told, student[1])
    assert check_lengths(subject, data).startswith(f"longest prompt {longest} + ")
    for index, length in enumerate((made[0] + told, student[1])):
        check_lengths(replace(subject, positions=length + 10), data.select([index]))
        with pytest.raises(DataError, match=rf"^1 of 1 rows .* row 0: {length}; "):
            check_lengths(replace(subject, positions=length + 9), data.select([index]))


def test_feedback_is_counted(processor: Any, tmp_path: Any) -> None:
    """What a reward function may say of a rollout, beside the rollout."""
    subject = subject_for(processor, tmp_path, method="sdpo_feedback", feedback_max_chars=300)
    assert "feedback" in subject.method.references
    block = len(subject.prompts.reference_ids("", "feedback"))
    longest = prompt_lengths(subject, data_of(row()))[0] + block + 10 + 300
    assert check_lengths(subject, data_of(row())).startswith(f"longest prompt {longest} + ")


def test_a_bound_on_references_makes_long_solutions_fit(processor: Any, tmp_path: Any) -> None:
    data = Dataset.from_list([row() | {"solution": "so " * 400}])
    fields: Any = {"method": "decisive", "solution_column": "solution"}
    whole, bounded = (subject_for(processor, tmp_path, **fields, reference_max_tokens=most) for most in (0, 32))
    student = prompt_lengths(whole, data)[0]
    block = len(whole.prompts.reference_ids("", "rationale"))
    told = len(whole.prompts.reference_ids("so " * 400, "rationale")) - block
    assert told > 400
    assert check_lengths(whole, data).startswith(f"longest prompt {student + block + told} + ")
    assert check_lengths(bounded, data).startswith(f"longest prompt {student + block + 32} + ")


def test_what_a_template_refuses_is_named_with_its_row(processor: Any, tmp_path: Any) -> None:
    subject = subject_for(processor, tmp_path)
    strict = "{%- if messages|length > 1 %}{{ raise_exception('one turn only') }}{%- endif %}"

    def render(prompt: Any) -> str:
        return processor.apply_chat_template(prompt, chat_template=strict + processor.chat_template, tokenize=False)

    refusing = replace(subject, render=render)
    with pytest.raises(DataError, match=r"^row 2: the model's chat template cannot render the prompt \(one turn only"):
        prompt_lengths(refusing, data_of(row(), row(), row(turns=3)))


def test_a_prompt_that_no_reference_fits_into_is_named_with_its_row(processor: Any, tmp_path: Any) -> None:
    """The one conversation that ends with the assistant: it used to end the run at its step."""
    data = data_of(*[row()] * 200, row(turns=2), *[row()] * 10)
    with pytest.raises(DataError, match=r"^row 200: the last message of a prompt must be the user's"):
        check_lengths(subject_for(processor, tmp_path), data)
    assert check_lengths(subject_for(processor, tmp_path, method="grpo"), data)


def test_an_evaluation_has_to_fit_too(processor: Any, tmp_path: Any) -> None:
    subject = subject_for(processor, tmp_path, positions=60)
    fits, long = row("why"), row("why " * 60)
    check_held_out(subject, data_of(fits))
    with pytest.raises(DataError, match=r"^eval_data: 1 of 2 rows .* row 1: "):
        check_held_out(subject, data_of(fits, long))


def test_a_stream_goes_on_without_its_long_rows(
    processor: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    subject = subject_for(processor, tmp_path, positions=100)
    fits, long, told = row("why"), row("why " * 60), row("why", answer="8 " * 60)
    rows = [{name: one[name] for name in ("prompt", "answer")} for one in (fits, long, fits, told, long, fits)]
    stream = IterableDataset.from_generator(lambda: iter(rows))
    with caplog.at_level(logging.WARNING, logger="cepo"):
        left = list(fitting_stream(subject, stream))
    assert left == [rows[0], rows[2], rows[5]]
    assert caplog.text.count("rows left out of the stream so far: 1;") == 1
