"""What each rule promises in its docstring beyond its formula: bounds, masses, and what it is at its edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import assume, given

from cepo.credit.rules import Inputs, Knobs, Quantities
from cepo.credit.rules.cepo import CEPO
from cepo.credit.rules.cpo import CPO, CPOOptions
from cepo.credit.rules.decisive import DECISIVE
from cepo.credit.rules.distilled_rl import DISTILLED_RL, DistilledRLOptions
from cepo.credit.rules.focused import FOCUSED, FocusedOptions
from cepo.credit.rules.prob_mask import PROB_MASK, ProbMaskOptions
from cepo.credit.rules.rlcsd import RLCSD, RLCSDOptions
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


def test_scaled_goes_by_the_sign_of_a_whatever_its_size() -> None:
    advantage = torch.tensor([2.0, 0.5, -0.5, -2.0], dtype=torch.float64)
    case = Case(advantage, torch.ones(4, 1, dtype=torch.bool), {}, Quantities(), 1.0, 0.5)
    credit = case.credit(SCALED, ScaledOptions(praise=0.9, blame=0.3))
    torch.testing.assert_close(credit.weight_BT[:, 0], torch.tensor([0.9, 0.9, 0.3, 0.3], dtype=torch.float64))
    torch.testing.assert_close(credit.advantage_BT[:, 0], torch.tensor([1.8, 0.45, -0.15, -0.6], dtype=torch.float64))


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


@pytest.mark.parametrize(("least", "weights"), [(0.5, [2.0, 0.0]), (0.5 + 1e-9, [1.0, 1.0])])
def test_a_row_with_just_enough_evidence_is_shared_out(least: float, weights: list[float]) -> None:
    logps = {"plus": torch.tensor([[-1.0, -1.0]]).double(), "minus": torch.tensor([[-1.5, -1.0]]).double()}
    case = Case(torch.ones(1).double(), torch.ones(1, 2, dtype=torch.bool), logps, Quantities(), 1.0, 0.5)
    assert case.credit(FOCUSED, FocusedOptions(least=least)).weight_BT.tolist() == [weights]


# --- decisive ------------------------------------------------------------------------------------------------


@given(cases(nonzero=True))
def test_decisive_stays_in_cepo_s_bounds(case: Case) -> None:
    got = multiplier(case, case.credit(DECISIVE).advantage_BT)
    assert (got >= 1 - case.strength * case.clip - 1e-12).all()
    assert (got <= 1 + case.strength * case.clip + 1e-12).all()


@given(cases(nonzero=True))
def test_decisive_never_cuts_praise(case: Case) -> None:
    assert (multiplier(case, case.credit(DECISIVE).advantage_BT)[case.advantage_B > 0] >= 1 - 1e-12).all()


@given(cases(nonzero=True))
def test_a_row_is_lost_once(case: Case) -> None:
    """The blame above the floor sums to at most one whole token's, and order matters: what comes first takes it."""
    case = but(case, strength=1.0, clip=0.5, dead_zone=0.0)
    shares = (case.credit(DECISIVE).weight_BT - 0.5).masked_fill(~case.keep, 0.0)
    blamed = case.advantage_B < 0
    assert (shares[blamed] >= -1e-12).all()
    assert (shares[blamed].sum(1) <= 1.0 + 1e-9).all()


def test_an_error_that_follows_from_another_is_not_blamed() -> None:
    """Two steps against the right solution by 10 nats each: the first has the blame, the second nothing."""
    told = torch.zeros(1, 4, dtype=torch.float64)
    against = torch.tensor([[0.0, -10.0, 0.0, -10.0]], dtype=torch.float64)
    logps = {"plus": against - 1.0, "minus": told - 1.0}
    inputs = Inputs(DECISIVE.name, -torch.ones(1, dtype=torch.float64), torch.ones(1, 4), Knobs(1.0, 0.5), logps)
    assert DECISIVE.assign is not None
    want = torch.tensor([[0.5, 1.5, 0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(DECISIVE.assign(inputs).weight_BT, want, atol=1e-4, rtol=0)


def test_what_a_tool_said_does_not_lose_a_row() -> None:
    """The token outside of the mask is against the right solution too, and the blame is all the next one's."""
    against = torch.tensor([[0.0, -10.0, -10.0]], dtype=torch.float64)
    logps = {"plus": against - 1.0, "minus": torch.full_like(against, -1.0)}
    case = Case(-torch.ones(1).double(), torch.tensor([[1, 0, 1]]), logps, Quantities(), 1.0, 0.5)
    want = torch.tensor([[0.5, 1.0, 1.5]], dtype=torch.float64)
    torch.testing.assert_close(case.credit(DECISIVE).weight_BT, want, atol=1e-4, rtol=0)


# --- rlcsd, cpo, distilled_rl, prob_mask ---------------------------------------------------------------------


@given(cases())
def test_rlcsds_shift_is_bounded_in_deviations(case: Case) -> None:
    for beta in (0.5, 9.0):
        got = case.credit(RLCSD, RLCSDOptions(beta=beta)).advantage_BT
        assert ((got - case.advantage_B[:, None]).abs() <= min(beta * case.strength, 2.0) + 1e-12).all()


def test_rlcsd_selects_nearly_all_at_the_papers_tau_and_none_within_the_dead_zone() -> None:
    plus = torch.full((1, 40), -1.0).double()
    quiet = 0.002 * torch.linspace(-1, 1, 40).double()
    case = Case(
        torch.ones(1).double(),
        torch.ones(1, 40, dtype=torch.bool),
        {"plus": plus, "minus": plus + quiet},
        Quantities(),
        0.5,
        0.5,
    )
    assert (case.credit(RLCSD).advantage_BT != 1).double().mean() > 0.5
    assert torch.equal(but(case, dead_zone=0.003).credit(RLCSD).advantage_BT, torch.ones(1, 40).double())


def test_a_rule_that_adds_shows_what_an_advantage_was_multiplied_by() -> None:
    """Of A = 1 too; of A = 0 it shows 1."""
    advantage = torch.tensor([1.0, -0.5, 0.0]).double()
    logps = {"plus": torch.full((3, 2), -1.0).double(), "minus": torch.tensor([[-1.1, -0.9]] * 3).double()}
    credit = Case(advantage, torch.ones(3, 2, dtype=torch.bool), logps, Quantities(), 0.25, 0.5).credit(RLCSD)
    assert (credit.advantage_BT[:2] != advantage[:2, None]).all()
    torch.testing.assert_close(credit.weight_BT[:2] * advantage[:2, None], credit.advantage_BT[:2])
    assert credit.weight_BT[2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("tokens", [3, 49])
def test_two_means_of_nothing_selected_are_grpo_bitwise(tokens: int) -> None:
    """49 times a 49th is not 1."""
    logps = {prompt: torch.full((1, tokens), -1.0).double() for prompt in ("plus", "minus")}
    case = Case(torch.ones(1).double(), torch.ones(1, tokens, dtype=torch.bool), logps, Quantities(), 0.5, 0.5)
    assert set(case.credit(RLCSD, RLCSDOptions(two_means=True)).advantage_BT[0].tolist()) == {1.0}


def test_prob_mask_leaves_out_from_the_bound_on() -> None:
    sure = torch.tensor([[math.log(0.5), math.log(0.5) - 1e-9]], dtype=torch.float64)
    keep = torch.ones(1, 2, dtype=torch.bool)
    case = Case(torch.ones(1).double(), keep, {"student": sure}, Quantities(), 1.0, 0.5)
    assert case.credit(PROB_MASK, ProbMaskOptions(sure=0.5)).advantage_BT.tolist() == [[0.0, 1.0]]


@given(cases(nonzero=True))
def test_two_means_give_each_kind_of_token_its_own(case: Case) -> None:
    """sum / n = mean over unselected A_t + eta mean over selected A_t, wherever a row has both kinds."""
    eta, options = 0.6, {"tau": 0.5, "delta": 0.1}
    plain = case.credit(RLCSD, RLCSDOptions(**options))
    got = case.credit(RLCSD, RLCSDOptions(**options, two_means=True, eta=eta))
    torch.testing.assert_close(got.weight_BT * case.advantage_B[:, None], got.advantage_BT)
    chosen = (case.strength * (plain.evidence_BT / 0.5).tanh()).abs() > 0.1
    for row, keep in enumerate(case.keep):
        first, second = keep & chosen[row], keep & ~chosen[row]
        if first.any() and second.any():
            want = plain.advantage_BT[row, second].mean() + eta * plain.advantage_BT[row, first].mean()
            torch.testing.assert_close(got.advantage_BT[row, keep].mean(), want)


def test_cpo_learns_from_groups_that_are_all_wrong() -> None:
    case = Case(
        torch.zeros(1).double(),
        torch.tensor([[1, 1, 1, 0]]),
        {"plus": torch.tensor([[-1.0, -3.0, -9.0, -1.0]]).double(), "student": torch.full((1, 4), -2.0).double()},
        Quantities(),
        0.5,
        0.5,
    )
    assert case.credit(CPO, CPOOptions(2.0)).advantage_BT.tolist() == [[0.5, -0.5, -1.0, 0.0]]


@given(cases())
def test_distilled_rl_makes_no_credit(case: Case) -> None:
    """The log-weights of a right row sum to 0; wrong rows are GRPO's, bit for bit."""
    credit = case.credit(DISTILLED_RL, DistilledRLOptions(2.0))
    logs = torch.where(case.keep, credit.weight_BT.log(), 0.0).sum(1)
    torch.testing.assert_close(logs, torch.zeros_like(logs), rtol=0.0, atol=1e-9)
    wrong = case.advantage_B < 0
    assert torch.equal(credit.advantage_BT[wrong], case.advantage_B[wrong, None].expand_as(credit.advantage_BT[wrong]))
    assert ((credit.weight_BT >= 0.25 - 1e-9) & (credit.weight_BT <= 4 + 1e-9)).all()


@given(cases(nonzero=True))
def test_the_mask_takes_out_exactly_what_was_sure(case: Case) -> None:
    case = but(case, strength=1.0)
    got = case.credit(PROB_MASK, ProbMaskOptions(0.5)).advantage_BT
    sure = case.keep & (case.logps["student"] >= torch.tensor(0.5).double().log())
    assert not got[sure].any()
    assert torch.equal(got[~sure], case.advantage_B[:, None].expand_as(got)[~sure])
    everything = case.credit(PROB_MASK, ProbMaskOptions(1e-30)).advantage_BT
    assert not everything[case.keep].any()
    assert case.credit(CEPO).advantage_BT[case.keep].all(), "whereas CEPO leaves nothing out"
