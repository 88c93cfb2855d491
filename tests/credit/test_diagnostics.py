import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.diagnostics import credit_sums, summarise
from cepo.credit.evidence import clip_bounds, modulate
from tests import naive
from tests.credit.strategies import Batch, batches


@st.composite
def credited_batches(draw):
    batch = draw(batches())
    rows = len(batch.advantage_B)
    return batch, torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))


def sums_of(batch: Batch, credited_B: torch.Tensor, rows: slice = slice(None), tokens: slice = slice(None)):
    given = batch.advantage_B, batch.evidence_BT, batch.mask_BT
    credited_BT = torch.where(credited_B[:, None], modulate(*given, batch.strength, batch.clip), 0.0)
    return credit_sums(
        batch.advantage_B[rows],
        batch.evidence_BT[rows, tokens],
        credited_BT[rows, tokens],
        batch.mask_BT[rows, tokens],
        credited_B[rows],
        batch.clip,
    )


@given(credited_batches())
def test_twin(drawn):
    batch, credited_B = drawn
    want = naive.credit_metrics(
        batch.advantage_B.tolist(),
        batch.evidence_BT.tolist(),
        batch.mask_BT.tolist(),
        credited_B.tolist(),
        batch.strength,
        batch.clip,
    )
    got = summarise(sums_of(batch, credited_B))
    assert got == pytest.approx(want, rel=1e-9, abs=1e-6)
    assert not any(math.isnan(value) for value in got.values())


@given(credited_batches(), st.integers(0, 4), st.integers(0, 5))
def test_halves_add_up_to_the_whole(drawn, row, token):
    batch, credited_B = drawn
    whole = sums_of(batch, credited_B)
    by_row = sums_of(batch, credited_B, slice(None, row)) + sums_of(batch, credited_B, slice(row, None))
    by_token = sum(sums_of(batch, credited_B, tokens=half) for half in (slice(None, token), slice(token, None)))
    torch.testing.assert_close(by_row, whole)
    torch.testing.assert_close(by_token, whole)


def test_worked_example():
    """A = 1 on Delta = (log 2, -log 4, 0), A = -1 on (log 2, +inf), and a row without credit."""
    two, four = math.log(2.0), math.log(4.0)
    evidence = torch.tensor([[two, -four, 0.0, 9.0], [two, math.inf, 9.0, 9.0], [1.0, 1.0, math.nan, 1.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    credited = torch.tensor([True, True, False])
    advantage = torch.tensor([1.0, -1.0, 1.0])
    got = summarise(
        credit_sums(advantage, evidence, modulate(advantage, evidence, mask, 0.5, 0.6), mask, credited, 0.6)
    )
    assert got == pytest.approx(
        {
            "credit/evidence_mean_pos": -two / 3,
            "credit/evidence_std_pos": two * math.sqrt(5 / 3 - 1 / 9),
            "credit/evidence_abs_mean_pos": two,
            "credit/evidence_mean_neg": two,
            "credit/evidence_std_neg": 0.0,
            "credit/evidence_abs_mean_neg": two,
            "credit/clip_low": 2 / 5,  # 1/4 and 0 lie below 0.4; 1/2 does not
            "credit/clip_high": 1 / 5,  # 2 lies above 1.6
            "credit/multiplier_mean": (1.3 + 0.7 + 1.0 + 0.75 + 0.7) / 5,
            "credit/tokens_positive": 3 / 5,
            "credit/tokens_negative": 1 / 5,
            "credit/tokens_zero": 1 / 5,
            "credit/tokens_nonfinite": 1 / 5,
        },
        rel=1e-6,
        abs=1e-7,
    )


def test_nothing_credited_says_nothing():
    args = (torch.ones(2), torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3))
    sums = credit_sums(*args, torch.zeros(2, dtype=torch.bool), 0.5)
    assert not sums.any()
    assert summarise(sums) == {}


def test_one_sign_only_has_no_keys_for_the_other():
    args = (torch.ones(1), torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2))
    got = summarise(credit_sums(*args, torch.ones(1, dtype=torch.bool), 0.5))
    assert "credit/evidence_mean_pos" in got
    assert not [key for key in got if key.endswith("_neg")]


def test_float32_evidence_is_summed_in_float64():
    """2^24 is where float32 stops counting: 16,777,216 + 1 = 16,777,216."""
    evidence = torch.tensor([[2.0**24, 1.0]])
    ones = torch.ones(1, 2)
    got = summarise(credit_sums(torch.ones(1), evidence, ones, ones, torch.ones(1, dtype=torch.bool), 0.5))
    assert got["credit/evidence_mean_pos"] == (2**24 + 1) / 2


def test_float32_evidence_is_squared_in_float64():
    ones, credited = torch.ones(1, 2), torch.ones(1, dtype=torch.bool)
    args = (torch.ones(1), torch.tensor([[3e20, -3e20]]), ones, ones, credited)
    assert summarise(credit_sums(*args, 0.5))["credit/evidence_std_pos"] == pytest.approx(3e20)


def test_the_multiplier_is_what_the_rule_made_of_the_advantage():
    """A rule with a formula of its own: nothing is computed again from its evidence."""
    advantage, ones = torch.tensor([2.0, 0.0]), torch.ones(2, 2)
    token = torch.tensor([[6.0, 2.0], [5.0, 5.0]])
    got = summarise(credit_sums(advantage, ones, token, ones, torch.ones(2, dtype=torch.bool), 0.5))
    assert got["credit/multiplier_mean"] == (3 + 1 + 1 + 1) / 4


def test_a_weight_at_its_bound_is_not_clipped():
    evidence, ones = torch.tensor([clip_bounds(0.5)], dtype=torch.float64), torch.ones(1, 2)
    got = summarise(credit_sums(torch.ones(1).double(), evidence, ones.double(), ones, torch.ones(1).bool(), 0.5))
    assert (got["credit/clip_low"], got["credit/clip_high"]) == (0.0, 0.0)


def test_a_foreign_vector():
    with pytest.raises(ValueError, match="expected the 16 sums of credit_sums, got 3"):
        summarise(torch.zeros(3, dtype=torch.float64))
