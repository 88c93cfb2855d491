"""What each rule promises in its docstring beyond its formula: bounds, masses, and what it is at its edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import assume, given

from cepo.credit.rules import Quantities
from cepo.credit.rules.focused import FOCUSED, FocusedOptions
from cepo.credit.rules.scaled import SCALED, ScaledOptions
from cepo.credit.rules.scores import SCORES, SCORES_ADDED, ScoresOptions
from cepo.credit.rules.values import VALUES, ValuesOptions
from tests.credit.rule_cases import Case, cases


def but(case: Case, **changes: Any) -> Case:
    return Case(**{**vars(case), **changes})


def scored(case: Case, scores_BT: torch.Tensor) -> Case:
    quantities: Mapping[str, Any] = {name: getattr(case.quantities, name) for name in type(case.quantities).__slots__}
    return but(case, quantities=type(case.quantities)(**{**quantities, "scores_BT": scores_BT}))


def multiplier(case: Case, advantage_BT: torch.Tensor) -> torch.Tensor:
    return advantage_BT / case.advantage_B[:, None]


# --- scaled --------------------------------------------------------------------------------------------------


@given(cases())
def test_scaled_by_one_is_grpo_bitwise(case: Case) -> None:
    got = case.credit(SCALED, ScaledOptions(1.0, 1.0)).advantage_BT
    assert torch.equal(got, case.advantage_B[:, None].expand_as(got))


def test_scaled_by_default_blames_less_and_praises_as_much() -> None:
    up_down = torch.tensor([2.0, -2.0]).double()
    case = Case(up_down, torch.ones(2, 2, dtype=torch.bool), {}, Quantities(), 1.0, 0.5)
    assert case.credit(SCALED).advantage_BT.tolist() == [[2.0, 2.0], [pytest.approx(-1.08)] * 2]


# --- scores --------------------------------------------------------------------------------------------------


@given(cases(nonzero=True))
def test_qualities_are_bounded_as_cepo_is(case: Case) -> None:
    got = multiplier(case, case.credit(SCORES).advantage_BT)
    assert ((got - 1).abs() <= case.strength * case.clip + 1e-12).all()


@given(cases(nonzero=True))
def test_a_good_token_is_praised_more_and_blamed_less(case: Case) -> None:
    best = scored(case, torch.ones_like(case.logps["plus"]))
    got = multiplier(case, best.credit(SCORES).advantage_BT)
    want = 1 + case.strength * case.clip * case.advantage_B.sign()[:, None]
    torch.testing.assert_close(got[case.keep], want.expand_as(got)[case.keep])


@given(cases())
def test_no_opinion_is_grpo_bitwise(case: Case) -> None:
    silent = scored(case, torch.zeros_like(case.logps["plus"]))
    for rule in (SCORES, SCORES_ADDED):
        got = silent.credit(rule).advantage_BT
        assert torch.equal(got, case.advantage_B[:, None].expand_as(got))


@given(cases(nonzero=True))
def test_scores_as_weights_are_the_weights(case: Case) -> None:
    case = but(case, strength=1.0)
    got = multiplier(case, case.credit(SCORES, ScoresOptions("weight")).advantage_BT)
    assert case.quantities.scores_BT is not None
    torch.testing.assert_close(got[case.keep], case.quantities.scores_BT.clamp(min=0.0)[case.keep])


@given(cases(nonzero=True))
def test_differences_of_values_add_up_to_the_outcome(case: Case) -> None:
    """sum_t (V_t - V_{t-1}) = V_n - V_0, whatever lies between; and the baseline's first token has all of it."""
    case = but(case, strength=1.0)
    has = case.quantities
    assert has.scores_BT is not None
    assert has.pass_rate_B is not None
    assert has.deviation_B is not None
    differences = (case.credit(VALUES).advantage_BT * case.keep).sum(1) * (has.deviation_B + 1e-4)
    baseline = case.credit(VALUES, ValuesOptions("baseline")).advantage_BT
    for row, keep in enumerate(case.keep):
        own = keep.nonzero().flatten()
        if len(own):
            whole = has.scores_BT[row, own[-1]] - has.pass_rate_B[row]
            torch.testing.assert_close(differences[row], whole, rtol=1e-6, atol=1e-9)
            first = baseline[row, own[0]] * (has.deviation_B[row] + 1e-4)
            torch.testing.assert_close(first, whole, rtol=1e-6, atol=1e-9)


# --- focused -------------------------------------------------------------------------------------------------


@given(cases(nonzero=True))
def test_focused_is_bounded(case: Case) -> None:
    got = multiplier(case, case.credit(FOCUSED, FocusedOptions(cap=2.5)).advantage_BT)
    assert (got >= 1 - case.strength - 1e-12).all()
    assert (got <= 1 + case.strength * 1.5 + 1e-12).all()


@given(cases(nonzero=True))
def test_focused_gives_a_row_what_it_has_and_never_more(case: Case) -> None:
    """A row's mean weight is 1 where the cap is not reached, and below it otherwise."""
    case = but(case, dead_zone=0.0)
    loose, tight = (case.credit(FOCUSED, FocusedOptions(cap, 0.01)).weight_BT for cap in (1e9, 1.5))
    for row, keep in enumerate(case.keep):
        if keep.any():
            assert loose[row, keep].mean().item() == pytest.approx(1.0)
            assert tight[row, keep].mean().item() <= 1.0 + 1e-12


@given(cases(nonzero=True))
def test_focused_gives_nothing_to_tokens_that_the_evidence_does_not_name(case: Case) -> None:
    case = but(case, strength=1.0, dead_zone=0.0)
    credit = case.credit(FOCUSED, FocusedOptions(least=0.01))
    agrees = credit.evidence_BT * case.advantage_B.sign()[:, None] > 0
    enough = (credit.evidence_BT * case.advantage_B.sign()[:, None]).clamp(min=0).mul(case.keep).sum(1) >= 0.01
    assume(enough.any())
    silent = case.keep & ~agrees & enough[:, None]
    assert not credit.advantage_BT[silent].any()


@given(cases())
def test_rows_without_enough_evidence_keep_their_advantage(case: Case) -> None:
    got = case.credit(FOCUSED, FocusedOptions(least=1e6)).advantage_BT
    assert torch.equal(got, case.advantage_B[:, None].expand_as(got))
