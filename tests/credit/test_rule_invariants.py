"""What holds for every credit rule that there is, the ones of tomorrow included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.rules import Credit, Quantities, Rule
from cepo.credit.rules.registry import check_rule
from tests.credit.rule_cases import FEW, NAMES, RULES, Case, cases, rule_of

EVERY_RULE = pytest.mark.parametrize("name", NAMES)


def close(got: Credit, want: Credit, keep_BT: torch.Tensor) -> None:
    for part in ("evidence_BT", "weight_BT", "advantage_BT"):
        torch.testing.assert_close(getattr(got, part)[keep_BT], getattr(want, part)[keep_BT])


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_it_does_what_it_declares(rule: Rule) -> None:
    check_rule(rule)


@EVERY_RULE
@FEW
@given(case=cases())
def test_without_strength_it_is_grpo_bitwise(name: str, case: Case) -> None:
    case = Case(**{**vars(case), "strength": 0.0})
    got = case.credit(rule_of(name)).advantage_BT
    assert torch.equal(got, case.advantage_B[:, None].expand_as(got))


@EVERY_RULE
@FEW
@given(case=cases())
def test_outside_the_mask_it_is_grpo(name: str, case: Case) -> None:
    credit = case.credit(rule_of(name))
    outside = ~case.keep
    assert torch.equal(credit.advantage_BT[outside], case.advantage_B[:, None].expand_as(outside)[outside])
    assert not credit.evidence_BT[outside].any()
    assert (credit.weight_BT[outside] == 1).all()


@EVERY_RULE
@FEW
@given(case=cases())
def test_what_stands_outside_the_mask_is_not_read(name: str, case: Case) -> None:
    spoilt = {prompt: torch.where(case.keep, logp_BT, torch.nan) for prompt, logp_BT in case.logps.items()}
    quantities = {slot: getattr(case.quantities, slot) for slot in type(case.quantities).__slots__}
    for slot in ("entropy_BT", "scores_BT"):
        quantities[slot] = torch.where(case.keep, quantities[slot], torch.nan)
    other = Case(**{**vars(case), "logps": spoilt, "quantities": type(case.quantities)(**quantities)})
    rule = rule_of(name)
    close(other.credit(rule), case.credit(rule), case.keep)


@EVERY_RULE
@FEW
@given(case=cases(), seed=st.integers(0, 99))
def test_rows_do_not_see_each_other(name: str, case: Case, seed: int) -> None:
    order = torch.randperm(len(case.advantage_B), generator=torch.Generator().manual_seed(seed)).tolist()[:2]
    rule, alone = rule_of(name), case.taking(order)
    whole = case.credit(rule)
    taken = Credit(whole.evidence_BT[order], whole.weight_BT[order], whole.advantage_BT[order])
    close(alone.credit(rule), taken, alone.keep)


@pytest.mark.parametrize("name", [rule.name for rule in RULES if rule.keeps_sign])
@FEW
@given(case=cases())
def test_the_verifier_decides_the_sign(name: str, case: Case) -> None:
    got = case.credit(rule_of(name)).advantage_BT
    base = case.advantage_B[:, None].expand_as(got)
    assert (got * base >= 0)[case.keep].all()
    if not rule_of(name).acts_where_equal:
        assert not got[base == 0].any()


@pytest.mark.parametrize("name", [rule.name for rule in RULES if not rule.keeps_sign])
def test_a_rule_that_may_turn_the_sign_does(name: str) -> None:
    """Else it should say that it keeps it."""
    torch.manual_seed(0)
    case = turning()
    got = case.credit(rule_of(name)).advantage_BT
    assert (got * case.advantage_B[:, None] < 0).any()


def turning() -> Case:
    shape = (16, 12)
    up_B = torch.arange(shape[0]) % 2 == 0
    return Case(
        advantage_B=torch.where(up_B, 0.3, -0.3).double(),
        mask_BT=torch.ones(shape, dtype=torch.bool),
        logps={prompt: -6 * torch.rand(shape).double() for prompt in ("plus", "minus", "rival", "student")},
        quantities=Quantities(
            entropy_BT=torch.rand(shape).double(),
            pass_rate_B=torch.full(shape[:1], 0.5).double(),
            deviation_B=torch.full(shape[:1], 0.5).double(),
            group_size_B=torch.full(shape[:1], 4.0).double(),
            reward_B=up_B.double(),
            verdict_B=up_B,
            scores_BT=2 * torch.randn(shape).double(),
        ),
        strength=1.0,
        clip=0.5,
    )


@EVERY_RULE
@FEW
@given(case=cases(nonzero=True))
def test_the_shown_weight_is_that_of_the_advantage(name: str, case: Case) -> None:
    """A_hat = A ((1 - lambda) + lambda w), or, of rules that add, A_hat = A w."""
    credit = case.credit(rule_of(name))
    base, weight = case.advantage_B[:, None], credit.weight_BT
    mixed = base * ((1 - case.strength) + case.strength * weight)
    gap = torch.minimum((credit.advantage_BT - mixed).abs(), (credit.advantage_BT - base * weight).abs())
    assert (gap[case.keep] <= 1e-9 * (1 + credit.advantage_BT[case.keep].abs())).all()


@EVERY_RULE
def test_nothing_flows_back_to_the_teachers(name: str) -> None:
    torch.manual_seed(0)
    case = turning()
    logps = {prompt: logp_BT.requires_grad_() for prompt, logp_BT in case.logps.items()}
    credit = Case(**{**vars(case), "logps": logps}).credit(rule_of(name))
    assert not credit.advantage_BT.requires_grad
