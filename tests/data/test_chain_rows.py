"""`data: chain`: rows as the trainer and the solver need them, and what is refused."""

from __future__ import annotations

import pytest

from cepo.answers import grade
from cepo.chain.problems import Chain, split_of
from cepo.chain.solver import label_text
from cepo.chain.wording import question
from cepo.data.datasets import DataSpec, load_data
from cepo.data.sources import is_procedural
from cepo.errors import DataError


def test_rows_carry_what_the_trainer_and_the_solver_need() -> None:
    data = load_data(DataSpec("chain:steps=4,fillers=2", split="validation", limit=12, seed=3))
    assert set(data.column_names) == {"prompt", "answer", "solution", "family", "chain", "id"}
    assert len(set(data["id"])) == 12
    for row in data:
        chain = Chain.parse(row["chain"])
        assert split_of(chain.key) == "validation"
        assert row["prompt"][0]["content"].startswith(question(chain))
        assert row["answer"] == str(chain.answer)
        assert row["family"] == "chain4"
        assert grade(row["solution"], row["answer"])
        labels = [span.label for span in label_text(chain, row["solution"]) if span.label != "filler"]
        assert labels == ["decisive"] * 4 + ["answer"]


def test_a_pool_needs_no_limit() -> None:
    assert len(load_data(DataSpec("chain:problems=5"))) == 5
    repeated = load_data(DataSpec("chain:problems=5", limit=11))
    assert len(set(repeated["chain"])) == 5
    assert len(set(repeated["id"])) == 11


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"path": "chain"}, "say how many with `limit`"),
        ({"path": "chain", "limit": 3, "split": "test"}, "no split 'test'"),
        ({"path": "chain:steps=99", "limit": 3}, "steps must be 1 to 12"),
    ],
)
def test_what_cannot_be_made_is_refused(spec: dict[str, object], why: str) -> None:
    with pytest.raises(DataError, match=why):
        load_data(DataSpec(**spec))  # type: ignore[arg-type]


@pytest.mark.parametrize("foreign", [{"columns": {"prompt": "q"}}, {"families": ["isosceles"]}, {"subset": "main"}])
def test_what_is_of_other_data_is_refused(foreign: dict[str, object]) -> None:
    with pytest.raises(DataError, match="does not go with the data 'chain'"):
        DataSpec("chain", limit=3, **foreign)  # type: ignore[arg-type]


def test_what_is_made_here() -> None:
    assert [is_procedural(path) for path in ("geometry", "chain", "chain:steps=2", "chains", "chain.jsonl")] == [
        True, True, True, False, False
    ]  # fmt: skip
