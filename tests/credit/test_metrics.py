"""What is logged of a step: rows and groups are counted once, on however many processes, beside the credit's sums."""

from __future__ import annotations

import pytest
import torch

from cepo.credit.groups import LocalGroups
from cepo.credit.metrics import credit_metrics, step_sums
from cepo.credit.references import NOTHING, References
from cepo.credit.rules import Credit, Knobs
from cepo.credit.step import StepCredit
from cepo.glossary import Group, Rollout, Told
from tests.credit.test_step import rule

RIGHT, WRONG = Rollout("", "7", True, 1.0), Rollout("", "8", False, 0.0)
SAYS_NOTHING, OPEN = Rollout("", None, False, 0.0), Rollout("", "9", None, 0.0)
GOLD, SIBLING = Told(("7",), "gold"), Told(("7",), "sibling")
TOLD: dict[int, References] = {
    0: {"plus": GOLD, "minus": Told(("8",), "group", is_own=True)},
    1: {"plus": SIBLING, "minus": Told((), "rlsd")},
    2: {"plus": GOLD, "minus": Told((), "grpo")},
    3: {"plus": SIBLING, "minus": Told(("8",), "group")},
    4: {"plus": NOTHING, "minus": NOTHING},
    5: {"plus": SIBLING, "minus": Told(("rlsd",), "group")},
    6: {},
    7: {},
}
GROUPS = LocalGroups(
    {
        0: Group("7", (RIGHT, SAYS_NOTHING)),
        1: Group("7", (RIGHT, WRONG)),
        2: Group("7", (RIGHT, OPEN)),
        3: Group("7", (RIGHT, RIGHT)),
    },
    {0: (0, 1), **{row: (1 + (row - 1) // 2, (row - 1) % 2) for row in range(1, 7)}, 7: (3, 1)},
    first_row=1,
)
MASK_BT = torch.tensor([[1, 1, 0]] * 8)


def step(credit: Credit | None, rows: tuple[int, ...] = (0, 3)) -> StepCredit:
    return StepCredit(3, rule("cepo"), Knobs(0.5, 0.5), GROUPS, TOLD, rows=rows, credit=credit, nonfinite=1)


def credit() -> Credit:
    evidence = torch.tensor([[0.5, 0.1, 9.0], [-0.2, 0.0, 9.0]])
    return Credit(evidence, torch.ones(2, 3), torch.tensor([[3.0, 2.0, 9.0], [-1.0, -1.5, 9.0]]))


def test_rows_and_groups_are_counted_by_hand() -> None:
    """Group 0's first row lies on another process: it is counted there."""
    advantage_B = torch.tensor([2.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    found = credit_metrics(step_sums(step(credit()), advantage_B, MASK_BT))
    shares = {"scored": 3, "nonfinite": 1, "fallback": 2, "minus_own": 1, "plus_sibling": 3, "no_plus": 1}
    assert {name: found[f"credit/rows_{name}"] for name in shares} == {name: n / 8 for name, n in shares.items()}
    assert found["credit/groups_undecided"] == pytest.approx(2 / 3)
    assert found["credit/groups_no_minus"] == pytest.approx(2 / 3)
    assert found["credit/evidence_mean_pos"] == pytest.approx(0.3)
    assert found["credit/evidence_mean_neg"] == pytest.approx(-0.1)
    assert found["credit/multiplier_mean"] == pytest.approx((1.5 + 1.0 + 1.0 + 1.5) / 4)


def test_a_group_without_an_answer_to_tell_is_decided_all_the_same() -> None:
    whole = LocalGroups({0: GROUPS.groups[0]}, {0: (0, 0), 1: (0, 1)})
    alone = StepCredit(1, rule("cepo"), Knobs(0.5, 0.5), whole, {0: {}, 1: {}})
    found = credit_metrics(step_sums(alone, torch.zeros(2), MASK_BT[:2]))
    assert (found["credit/groups_undecided"], found["credit/groups_no_minus"]) == (0.0, 1.0)


def test_a_step_of_nothing_says_nothing_of_its_tokens() -> None:
    """No credit, and no group that begins here."""
    elsewhere = LocalGroups({0: GROUPS.groups[1]}, {0: (0, 1)}, first_row=1)
    nothing = StepCredit(3, rule("cepo"), Knobs(0.5, 0.5), elsewhere, {0: {}})
    found = credit_metrics(step_sums(nothing, torch.ones(1), MASK_BT[:1]))
    assert set(found.values()) == {0.0}
    assert not any("evidence" in name or "tokens" in name for name in found)


def test_two_processes_sums_add_up() -> None:
    sums = step_sums(step(credit()), torch.full((8,), 2.0, dtype=torch.bfloat16), MASK_BT)
    assert sums.dtype == torch.float64
    assert credit_metrics(sums + sums) == pytest.approx(credit_metrics(sums))
