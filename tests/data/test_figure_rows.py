"""`data: figures`: rows as the trainer and the solver need them, what is refused, and oracle rewards on them."""

from __future__ import annotations

import pytest

from cepo.answers import grade
from cepo.chain.solver import label_text
from cepo.data.datasets import DataSpec, load_data
from cepo.data.oracles import chain_oracle, chain_values
from cepo.data.rewards import accuracy_reward
from cepo.data.sources import is_procedural
from cepo.errors import DataError
from cepo.figures.problems import Figure, split_of
from cepo.figures.wording import question

KEY = "40>line>whole:30"
RIGHT = "A=40. in B a line is 180-40=140. in C a whole with 30 is 140+30=170. \\boxed{170}"
WRONG = RIGHT.replace("140+30=170", "140-30=110").replace("{170}", "{110}")


def test_rows_carry_what_the_trainer_and_the_solver_need() -> None:
    data = load_data(DataSpec("figures", split="validation", limit=10, seed=3))
    assert set(data.column_names) == {"prompt", "images", "answer", "solution", "family", "chain", "id"}
    assert len(set(data["id"])) == 10
    assert data["family"][:5] == [f"figures{steps}" for steps in (2, 3, 4, 5, 6)]
    for row in data:
        figure = Figure.parse(row["chain"])
        assert split_of(figure.key) == "validation"
        assert row["images"][0].size == (192, 192)
        assert row["prompt"][0]["content"].startswith(question(figure))
        assert row["answer"] == str(figure.answer)
        assert grade(row["solution"], row["answer"])
        assert figure.first_error(row["solution"]) is None


def test_what_cannot_be_made_is_refused() -> None:
    assert is_procedural("figures")
    with pytest.raises(DataError, match="say how many with `limit`"):
        load_data(DataSpec("figures"))
    with pytest.raises(DataError, match="figures has no split 'test'"):
        load_data(DataSpec("figures", limit=3, split="test"))
    for foreign in ({"columns": {"prompt": "q"}}, {"families": ["isosceles"]}):
        with pytest.raises(DataError, match="does not go with the data 'figures'"):
            DataSpec("figures", limit=3, **foreign)  # type: ignore[arg-type]


def test_oracles_score_what_decided() -> None:
    given = {"prompts": ["p"] * 2, "completions": [RIGHT, WRONG], "answer": ["170"] * 2, "chain": [KEY] * 2}
    for reward in (chain_oracle, chain_values):
        assert [float(value) for value in reward(**given)] == accuracy_reward(**given) == [1.0, 0.0]
    right, wrong = chain_oracle(**given)
    assert [WRONG[start:end] for start, end, _ in wrong.spans or ()] == ["-"]
    decided = [(s.start, s.end, 1.0) for s in label_text(Figure.parse(KEY), RIGHT) if s.label == "decisive"]
    assert list(right.spans or ()) == decided
    assert len(decided) == 8  # 40, line, 180, 140, whole, +, 30, 170


def test_values_rise_with_each_choice() -> None:
    given = {"prompts": ["p"] * 2, "completions": [RIGHT, WRONG], "answer": ["170"] * 2, "chain": [KEY] * 2}
    right, wrong = chain_values(**given)  # p = 1/2, two steps
    of = {RIGHT[start:end]: value for start, end, value in right.spans or () if end < len(RIGHT)}
    assert [of[piece] for piece in ("line", "180", "whole", "+", "170")] == pytest.approx(
        [0.5, 0.5**0.5, 0.5**0.5, 1, 1]
    )
    assert {WRONG[start:end]: value for start, end, value in wrong.spans or ()}["-"] == 0.0
