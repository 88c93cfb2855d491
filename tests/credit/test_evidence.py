"""Each op against its double-loop twin, its degenerate cases, its errors. Theorems: test_credit_theorems."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit import evidence as credit
from tests import naive
from tests.credit.strategies import Batch, batches

INF, NAN = math.inf, math.nan


def approx_rows(got: torch.Tensor, want: list[list[float]]) -> None:
    torch.testing.assert_close(got, torch.tensor(want, dtype=got.dtype), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("evidence", [credit.contrastive_evidence, credit.privileged_gain])
@given(batch=batches())
def test_evidence_twin(evidence, batch: Batch):
    got = evidence(batch.plus_BT, batch.minus_BT, batch.mask_BT)
    want = naive.evidence(batch.plus_BT.tolist(), batch.minus_BT.tolist(), batch.mask_BT.tolist())
    approx_rows(got, want)


def test_evidence_is_positive_where_the_right_answer_explains_the_token_better():
    plus, minus = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.3, 0.4]]).log()
    evidence = credit.contrastive_evidence(plus, minus, torch.ones(1, 2))
    torch.testing.assert_close(evidence, torch.tensor([[math.log(3), -math.log(4)]]))


def test_evidence_at_infinities():
    plus = torch.tensor([[-INF, -1.0, -INF, NAN, -INF, NAN]])
    minus = torch.tensor([[-1.0, -INF, -INF, -1.0, NAN, NAN]])
    mask = torch.tensor([[1, 1, 1, 0, 0, 1]])
    evidence = credit.contrastive_evidence(plus, minus, mask)
    assert evidence[0, :5].tolist() == [-INF, INF, 0.0, 0.0, 0.0]
    assert evidence[0, 5].isnan(), "a broken forward must stay visible; finite_rows finds it"


def test_evidence_carries_no_gradient():
    plus, minus = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    for evidence in (credit.contrastive_evidence, credit.privileged_gain):
        assert not evidence(plus, minus, torch.ones(2, 3)).requires_grad


@given(batches())
def test_finite_rows_twin(batch: Batch):
    got = credit.finite_rows(batch.plus_BT, batch.mask_BT)
    assert got.tolist() == naive.finite_rows(batch.plus_BT.tolist(), batch.mask_BT.tolist())


def test_finite_rows_look_inside_the_mask_only():
    logp = torch.tensor([[-1.0, NAN], [-1.0, NAN], [-INF, -1.0], [INF, -1.0], [NAN, NAN]])
    mask = torch.tensor([[1, 0], [1, 1], [1, 1], [1, 1], [0, 0]])
    assert credit.finite_rows(logp, mask).tolist() == [True, False, False, False, True]


@st.composite
def references(draw):
    """logp_KBT with valid_KB, at least one valid reference in every row."""
    k, b, t = (draw(st.integers(1, 4)) for _ in range(3))
    logps = st.one_of(st.floats(-30.0, 0.0), st.just(-INF))
    logp = draw(st.lists(logps, min_size=k * b * t, max_size=k * b * t))
    valid = torch.tensor(draw(st.lists(st.booleans(), min_size=k * b, max_size=k * b))).reshape(k, b)
    valid[draw(st.integers(0, k - 1))] = True
    return torch.tensor(logp, dtype=torch.float64).reshape(k, b, t), valid


@given(references())
def test_marginal_twin(drawn):
    logp_KBT, valid_KB = drawn
    approx_rows(credit.marginal_logp(logp_KBT, valid_KB), naive.marginal_logp(logp_KBT.tolist(), valid_KB.tolist()))


def test_marginal_does_not_underflow():
    logp = torch.tensor([[[-1000.0]], [[-1001.0]]])
    want = -1000.0 + math.log((1 + math.exp(-1)) / 2)
    torch.testing.assert_close(credit.marginal_logp(logp, torch.ones(2, 1, dtype=torch.bool)), torch.tensor([[want]]))


def test_marginal_of_one_valid_reference_is_that_reference_bitwise():
    logp = -torch.rand(3, 2, 50) * 20
    valid = torch.tensor([[False, True], [True, False], [False, False]])
    logp[2] = NAN
    got = credit.marginal_logp(logp, valid)
    assert torch.equal(got, torch.stack([logp[1, 0], logp[0, 1]]))


def test_marginal_needs_a_reference():
    valid = torch.tensor([[True, False, False], [True, False, True]])
    with pytest.raises(ValueError, match=r"rows \[1\] have no valid reference among K=2"):
        credit.marginal_logp(torch.zeros(2, 3, 4), valid)


@given(batches(), st.floats(0.0, 2.0))
def test_dead_zone_twin(batch: Batch, threshold):
    got = credit.dead_zone(batch.evidence_BT, threshold)
    approx_rows(got, naive.dead_zone(batch.evidence_BT.tolist(), threshold))


def test_dead_zone_removes_noise_and_keeps_signs():
    evidence = torch.tensor([[0.02, -0.02, 0.5, -0.5, INF, -INF, 0.0]])
    want = torch.tensor([[0.0, 0.0, 0.45, -0.45, INF, -INF, 0.0]])
    torch.testing.assert_close(credit.dead_zone(evidence, 0.05), want)
    assert torch.equal(credit.dead_zone(evidence, 0.0), evidence)


@pytest.mark.parametrize("threshold", [-0.1, INF, NAN])
def test_dead_zone_threshold(threshold):
    with pytest.raises(ValueError, match=f"got {threshold}"):
        credit.dead_zone(torch.zeros(1, 1), threshold)


@given(batches())
def test_credit_twins(batch: Batch):
    listed = (batch.advantage_B.tolist(), batch.evidence_BT.tolist(), batch.mask_BT.tolist())
    args = (batch.advantage_B, batch.evidence_BT, batch.mask_BT)
    approx_rows(credit.weights(*args, batch.clip), naive.weights(*listed, batch.clip))
    approx_rows(credit.multiplier(*batch.args()), naive.multiplier(*listed, batch.strength, batch.clip))
    approx_rows(credit.modulate(*batch.args()), naive.modulate(*listed, batch.strength, batch.clip))


def test_worked_example():
    """A = 2 and A = -2, lambda 0.5, eps_w 0.5: a token twice as likely under r+ gets weight 1.5 and 0.5."""
    evidence = torch.tensor([[math.log(2.0), math.log(1.25), 0.0]] * 2)
    got = credit.modulate(torch.tensor([2.0, -2.0]), evidence, torch.ones(2, 3), 0.5, 0.5)
    torch.testing.assert_close(got, torch.tensor([[2.5, 2.25, 2.0], [-1.5, -1.8, -2.0]]))


def test_outside_the_mask_the_row_keeps_its_advantage():
    evidence = torch.tensor([[1.0, INF, NAN]])
    got = credit.modulate(torch.tensor([0.7]), evidence, torch.tensor([[1, 0, 0]]), 1.0, 0.5)
    assert torch.equal(got[:, 1:], torch.tensor([[0.7, 0.7]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_evidence_is_exactly_one_at_every_strength(dtype):
    A, silent, mask = torch.ones(1, dtype=dtype), torch.zeros(1, 9, dtype=dtype), torch.ones(1, 9)
    for strength in torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist():
        assert credit.multiplier(A, silent, mask, strength, 0.5).unique().tolist() == [1.0], strength


def test_bfloat16_evidence_is_weighed_in_the_advantages_precision():
    evidence = torch.tensor([[0.1]], dtype=torch.bfloat16)
    assert credit.weights(torch.ones(1), evidence, torch.ones(1, 1), 0.5).dtype == torch.float32


@pytest.mark.parametrize("clip", [-0.1, 1.0, NAN])
def test_clip_range(clip):
    args = (torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1))
    for call in (lambda: credit.weights(*args, clip), lambda: credit.modulate(*args, 0.5, clip)):
        with pytest.raises(ValueError, match=f"got {clip}"):
            call()


@pytest.mark.parametrize("strength", [-0.1, 1.1, NAN])
def test_strength_range(strength):
    for op in (credit.multiplier, credit.modulate):
        with pytest.raises(ValueError, match=f"got {strength}"):
            op(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1), strength, 0.5)
