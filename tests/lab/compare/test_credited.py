"""How far credit went: shares of rollouts made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cepo.glossary import Told
from cepo.lab.compare.credited import credited, read_credited
from cepo.reports.traces import CreditRecord, TraceWriter

RIGHT = CreditRecord(
    step=1, problem_id="p", row=0, group=0, method="cepo", prompt_text="", tokens=["so", " 4", "."], token_ids=[1] * 3,
    advantage=[1.0, 1.5, 1.0], base_advantage=1.0, reward=1.0, evidence=[0.01, 3.0, float("nan")],
    weight=[1.0, 1.5, 1.0], correct=True, answer="4", told={"minus": Told(("5",), "group")}, strength=1.0, clip=0.5,
)  # fmt: skip
WRONG = replace(
    RIGHT, row=1, advantage=[-1.1, -1.0, -1.0], base_advantage=-1.0, evidence=[-0.2, 0.0, 0.0], weight=[1.1, 1.0, 1.0],
    correct=False, answer="5", told={"minus": Told(("5",), "group", is_own=True)},
)  # fmt: skip
AFTER = replace(RIGHT, step=2, advantage=1.0, evidence=None, weight=None, strength=0.0)
"""lambda is 0: nothing is scored, and the advantage is GRPO's."""


def test_shares() -> None:
    dead = replace(RIGHT, base_advantage=0.0, advantage=0.0)
    found = credited([RIGHT, WRONG, AFTER, dead], null_level=0.1)
    assert found == pytest.approx(
        {
            "moved": 0.6 / 9,
            "above null": 2 / 5,  # the token without a number for evidence is not counted
            "at clip": 1 / 5,
            "on numbers": 0.5 / 0.6,
            "numbers": 2 / 5,
            "r- own": 0.5,
            "r- group": 0.5,
            "r- none": 0.0,
        }
    )


def test_what_cannot_be_said_is_left_out() -> None:
    assert credited([AFTER], null_level=0.1) == {"moved": 0.0}
    assert "above null" not in credited([RIGHT], null_level=None)
    assert credited([replace(RIGHT, method="opsd")], null_level=0.1) == {}
    assert credited([WRONG], null_level=None)["r- own"] == 1.0
    assert credited([replace(RIGHT, told={"minus": Told((), "rlsd")})], null_level=None)["r- none"] == 1.0


def test_of_a_run(tmp_path: Path) -> None:
    assert read_credited(tmp_path, []) == {}
    TraceWriter(tmp_path).write_step([RIGHT, WRONG])
    metrics = [{"credit/null_p90": 0.1}, {"credit/null_p90": 0.5}, {"step": 3}]
    assert read_credited(tmp_path, metrics)["above null"] == pytest.approx(1 / 5)  # the level's mean is 0.3
