"""A run folder is continued by the run that it holds, and by no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cepo.runs.folder import check_same_run
from cepo.runs.recipe import resolve_recipe
from cepo.runs.run import resolved_config, write_provenance

FIELDS = {"method": "cepo", "learning_rate": "1e-5", "bf16": "false", "max_steps": "4"}


def settings(folder: Path, **values: Any) -> tuple[Any, Any]:
    return resolve_recipe({"output_dir": str(folder), **FIELDS, **values})


@pytest.mark.parametrize(
    "free", [{}, {"max_steps": "8"}, {"save_steps": "2"}, {"eval_limit": "7"}, {"trace_groups": "0"}], ids=str
)
def test_the_same_run_goes_on(free: dict[str, str], tmp_path: Path) -> None:
    check_same_run(tmp_path, resolved_config(*settings(tmp_path)))
    write_provenance(tmp_path, *settings(tmp_path))
    check_same_run(tmp_path, resolved_config(*settings(tmp_path, **free)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "grpo"),
        ("learning_rate", "2e-5"),
        ("credit_clip", "0.2"),
        ("preset", "paper"),
        ("seed", "7"),
        ("num_generations", "4"),
        ("rewards", ["format_reward"]),
        ("lora_rank", "4"),
        ("data_limit", "10"),
    ],
)
def test_another_run_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    write_provenance(tmp_path, *settings(tmp_path))
    with pytest.raises(ValueError, match=rf"run with other settings: .*{field}=.*\(now .*another --output_dir"):
        check_same_run(tmp_path, resolved_config(*settings(tmp_path, **{field: value})))
