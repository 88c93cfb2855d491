"""Nothing trains plain GRPO without a word."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from datasets import Dataset

from cepo.errors import DataError
from cepo.trainer.silence import PATIENCE
from tests.trainer.conftest import MakeTrainer


def spread(completions: Any, **_: Any) -> list[float]:
    return [0.01 * sum(map(ord, completion[0]["content"])) % 1.0 for completion in completions]


@pytest.mark.parametrize(("answer", "said"), [("98765", 1), (None, 0)])
def test_nothing_right_for_long_is_said_once(
    answer: str | None, said: int, make_text_trainer: MakeTrainer, text_rows: list[dict[str, Any]]
) -> None:
    rows = [row | ({"answer": answer} if answer else {}) for row in text_rows]
    trainer = make_text_trainer(
        train_dataset=Dataset.from_list(rows), reward_funcs=[spread], max_steps=PATIENCE + 2, trace_groups=0
    )
    with warnings.catch_warnings(record=True) as caught:
        trainer.train()
    assert sum("no rollout was right by the grader" in str(warning.message) for warning in caught) == said


def test_a_stream_without_answers(make_text_trainer: MakeTrainer, text_rows: list[dict[str, Any]]) -> None:
    stream = Dataset.from_list([{"prompt": row["prompt"]} for row in text_rows]).to_iterable_dataset()
    with pytest.raises(DataError, match="no column 'answer' for r\\+"):
        make_text_trainer(train_dataset=stream, reward_funcs=[spread]).train()
    make_text_trainer(train_dataset=stream, reward_funcs=[spread], method="grpo").train()
