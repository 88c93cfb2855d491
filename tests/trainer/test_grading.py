"""Whose word decides what is right: the grader's, or the reward function that `wrong_reward` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from cepo.trainer.config import CEPOConfig
from cepo.trainer.grading import Grader
from cepo.trainer.resample import Drawn, Graded
from tests.gpu import ON_GPU


def verdicts(tmp_path: Path, wrong_reward: str | None) -> list[bool | None]:
    config = CEPOConfig(output_dir=str(tmp_path), use_cpu=not ON_GPU, bf16=False, wrong_reward=wrong_reward)
    rewards = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rows: list[Any] = [{"prompt": "2 + 2?", "answer": "4"}] * 3
    graded = Graded(rewards, [r"\boxed{4}", r"\boxed{5}", "nothing"], {})
    grader = Grader(config, (), ("first", "second", "third"), lambda given: given.sum(1))
    return grader.verdicts(Drawn(rows, cast(Any, None), graded))


def test_the_grader_decides_where_no_reward_is_named(tmp_path: Path) -> None:
    assert verdicts(tmp_path, None) == [True, False, False]


def test_the_named_reward_decides_wherever_it_stands(tmp_path: Path) -> None:
    assert verdicts(tmp_path, "first") == [True, True, False]
    assert verdicts(tmp_path, "second") == [False, True, False]
    assert verdicts(tmp_path, "third") == [True, False, True]
