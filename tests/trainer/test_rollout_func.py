"""A `rollout_func` writes its own prompts: every row's teacher reads that row's, or the run says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cepo.errors import DataError
from tests.runs.small import write_model
from tests.trainer.small_text import build, problems
from tests.trainer.test_teacher_view import scored


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture
def make(small: Path, tmp_path: Path) -> Callable[..., Any]:
    """With a rollout_func whose prompts end in `words` of the row's place, and which returns `extra` fields too."""

    def made(words: Callable[[int], str] = str, extra: Any = None, **fields: Any) -> Any:
        def rollout(prompts: Any, trainer: Any) -> dict[str, Any]:
            told = [[{"role": "user", "content": one[-1]["content"] + words(row)}] for row, one in enumerate(prompts)]
            ids = [trainer.tokenizer(trainer.render(prompt))["input_ids"] for prompt in told]
            done = trainer.tokenizer("12")["input_ids"]
            completions = [[*done, trainer.tokenizer.eos_token_id] for _ in prompts]
            logprobs = [[-1.0] * len(one) for one in completions]
            more = {name: [value(row) for row in range(len(prompts))] for name, value in (extra or {}).items()}
            return {"prompt_ids": ids, "completion_ids": completions, "logprobs": logprobs, **more}

        options = {"rollout_func": rollout}
        return build(small, tmp_path, data=problems(), options=options, **{"method": "rlsd", "shuffle_dataset": False}
                     | fields)  # fmt: skip

    return made


def prompts_read(trainer: Any) -> tuple[list[str], list[str]]:
    """(Teachers', students') texts, in the order of rows."""
    texts = [trainer.tokenizer.decode(sequence.prompt_ids) for sequence in scored(trainer)]
    return texts[::2], texts[1::2]


def test_each_rows_teacher_reads_that_rows_prompt(make: Any) -> None:
    teachers, students = prompts_read(make(lambda row: f" Hint {row}."))
    assert len(students) == 4
    for row, (teacher, student) in enumerate(zip(teachers, students, strict=True)):
        assert f"Hint {row}." in student
        assert f"Hint {row}." in teacher
        assert "3" in teacher.replace(student, "")  # the answer of 0+3


def test_each_row_may_have_a_teachers_prompt_of_its_own(make: Any) -> None:
    extra = {"teacher_prompt": lambda row: f"Only for teacher {row}"}
    teachers, _ = prompts_read(make(lambda _: "", extra))
    assert [f"Only for teacher {row}" in teacher for row, teacher in enumerate(teachers)] == [True] * 4


def test_a_template_of_the_teachers_needs_the_data_sets_prompt(make: Any) -> None:
    fields = {"teacher_chat_template_kwargs": {"enable_thinking": True}}
    scored(make(lambda _: "", **fields))
    with pytest.raises(DataError, match="rollout_func gave row 0 another prompt than the data set's"):
        scored(make(lambda _: " More.", **fields))


def test_what_the_data_say_may_not_change_within_a_group(make: Any) -> None:
    with pytest.raises(DataError, match=r"one problem, but row 1 has an answer \('1', '0'\) other than the first"):
        scored(make(lambda _: "", {"answer": str}))
