"""The table of completions: credit beside TRL's columns, a row for each rollout, at steps without credit too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

parquet: Any = pytest.importorskip("pandas")


def test_the_table_of_completions_has_the_credit(make_trainer: Any, tmp_path: Path) -> None:
    trainer = make_trainer(log_completions=True, max_steps=2, credit_decay_steps=1, max_completion_length=48)
    trainer.train()
    first, second = (parquet.read_parquet(path) for path in sorted(tmp_path.rglob("completions_*.parquet")))
    assert len(first) == len(second) == 8
    credited = first[first["evidence"].notna()]
    assert len(credited) > 0, "no row had credit: nothing was shown"
    for _, row in credited.iterrows():
        assert row["r_plus"]
        assert "+" in row["evidence"] or "-" in row["evidence"]
    assert first[first["advantage"] == 0]["evidence"].isna().all()
    assert second["evidence"].isna().all(), "lambda is 0"


def test_grpo_s_table_is_trl_s(make_trainer: Any, tmp_path: Path) -> None:
    make_trainer(method="grpo", log_completions=True, max_steps=1).train()
    (path,) = tmp_path.rglob("completions_*.parquet")
    assert "evidence" not in parquet.read_parquet(path).columns
