"""The paper's properties (arXiv 2605.19436) as hypothesis tests; methods.md, section 1, has the list."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from cepo.credit import evidence as credit
from tests.credit.strategies import ADVANTAGE, CLIP, EVIDENCE, STRENGTH, Batch, batches

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def keep(batch: Batch) -> Tensor:
    return batch.mask_BT != 0


@DTYPES
@given(data=st.data())
def test_t1_direction(dtype, data):
    """sign(A_hat) = sign(A) for any evidence; A = 0 gives 0."""
    batch = data.draw(batches(dtype))
    got = credit.modulate(*batch.args())
    assert torch.equal(got.sign(), batch.advantage_B.sign()[:, None].expand_as(got))


@DTYPES
@given(data=st.data())
def test_t1_bound(dtype, data):
    """|A_hat - A| <= lambda eps_w |A|, to a few units in the last place."""
    batch = data.draw(batches(dtype))
    advantage_B1 = batch.advantage_B[:, None]
    shift = (credit.modulate(*batch.args()) - advantage_B1).abs()
    slack = 4 * torch.finfo(dtype).eps
    assert (shift <= (batch.strength * batch.clip + slack) * advantage_B1.abs()).all()


@given(ADVANTAGE.filter(bool), STRENGTH, CLIP)
def test_t1_bound_is_reached_by_one_sided_evidence(advantage, strength, clip):
    evidence = torch.tensor([[math.inf, -math.inf]], dtype=torch.float64) * math.copysign(1.0, advantage)
    A = torch.tensor([advantage], dtype=torch.float64)
    got = credit.modulate(A, evidence, torch.ones(1, 2), strength, clip) / advantage
    torch.testing.assert_close(got, torch.tensor([[1 + strength * clip, 1 - strength * clip]], dtype=torch.float64))


def logit_gradient(logits: Tensor, sampled_BT: Tensor, old_BT: Tensor, advantage_BT: Tensor) -> Tensor:
    """d loss / d logits of the PPO-clip surrogate 0.20 / 0.28, (B, T, V)."""
    logits = logits.clone().requires_grad_()
    logp_BT = logits.log_softmax(-1).gather(-1, sampled_BT[..., None]).squeeze(-1)
    ratio = (logp_BT - old_BT).exp()
    loss = -torch.minimum(ratio * advantage_BT, ratio.clamp(0.8, 1.28) * advantage_BT).sum()
    return torch.autograd.grad(loss, logits)[0]


@given(batches(), st.integers(0, 2**16))
def test_t1_structure(batch: Batch, seed):
    """Each token's logit gradient is GRPO's times a positive scalar, the multiplier; clipped tokens too."""
    random = torch.Generator().manual_seed(seed)
    shape = batch.evidence_BT.shape
    logits = torch.randn(*shape, 5, generator=random, dtype=torch.float64)
    sampled = torch.randint(5, shape, generator=random)
    logp = logits.log_softmax(-1).gather(-1, sampled[..., None]).squeeze(-1)
    old = logp + 0.4 * torch.randn(shape, generator=random, dtype=torch.float64)
    grpo = logit_gradient(logits, sampled, old, batch.advantage_B[:, None].expand(shape))
    ours = logit_gradient(logits, sampled, old, credit.modulate(*batch.args()))
    scale = credit.multiplier(*batch.args())
    assert (scale > 0).all()
    torch.testing.assert_close(ours, grpo * scale[..., None])


def test_t1_structure_references_get_no_gradient():
    logits, plus, minus = (torch.randn(2, 3, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 3)
    evidence = credit.contrastive_evidence(plus, minus, mask)
    (credit.modulate(torch.tensor([1.0, -1.0]), evidence, mask, 0.5, 0.5) * logits).sum().backward()
    assert logits.grad is not None
    assert plus.grad is None
    assert minus.grad is None


@given(ADVANTAGE, st.lists(EVIDENCE, min_size=2, max_size=6), STRENGTH, CLIP, st.integers(0, 2**16))
def test_leakage_is_bounded_though_not_zero(advantage, evidence, strength, clip, seed):
    """Over y_t ~ P_S GRPO's expected gradient is 0; the references leave an L1 norm <= lambda e |A|."""
    V = len(evidence)
    prob_V = torch.randn(V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(0)
    A_V = credit.modulate(  # one row per token that could be sampled
        torch.full((V,), advantage, dtype=torch.float64),
        torch.tensor(evidence, dtype=torch.float64)[:, None],
        torch.ones(V, 1),
        strength,
        clip,
    ).squeeze(1)
    # E_v[A_hat(v) grad log p(v)] with respect to logit u is p(u) (A_hat(u) - E[A_hat]).
    tilt_V = prob_V * (A_V - (prob_V * A_V).sum())
    assert tilt_V.abs().sum() <= strength * clip * abs(advantage) + 1e-12


def test_leakage_exists():
    prob_V, advantage_V = torch.tensor([0.5, 0.5]), torch.ones(2)
    A_V = credit.modulate(advantage_V, torch.tensor([[1.0], [-1.0]]), torch.ones(2, 1), 1.0, 0.5).squeeze(1)
    tilt_V = prob_V * (A_V - (prob_V * A_V).sum())
    torch.testing.assert_close(tilt_V.abs().sum(), torch.tensor(0.5))


@DTYPES
@given(data=st.data())
def test_t1_containment_no_strength_is_grpo_bitwise(dtype, data):
    batch = data.draw(batches(dtype))
    got = credit.modulate(batch.advantage_B, batch.evidence_BT, batch.mask_BT, 0.0, batch.clip)
    assert torch.equal(got, batch.advantage_B[:, None].expand_as(got))


@DTYPES
@given(data=st.data())
def test_t1_containment_equal_references_are_grpo_bitwise(dtype, data):
    batch = data.draw(batches(dtype))
    evidence = credit.contrastive_evidence(batch.plus_BT, batch.plus_BT, batch.mask_BT)
    got = credit.modulate(batch.advantage_B, evidence, batch.mask_BT, batch.strength, batch.clip)
    assert torch.equal(got, batch.advantage_B[:, None].expand_as(got))


@given(batches())
def test_t1_containment_student_as_wrong_teacher_is_rlsd(batch: Batch):
    """RLSD spelt out: w = (P_T / P_S)^sign(A), clipped; it is CEPO with P- := P_S."""
    student, teacher = batch.minus_BT.clamp(min=-40.0), batch.plus_BT.clamp(min=-40.0)
    evidence = credit.contrastive_evidence(teacher, student, batch.mask_BT)
    got = credit.modulate(batch.advantage_B, evidence, batch.mask_BT, batch.strength, batch.clip)
    ratio = (teacher.exp() / student.exp()) ** batch.advantage_B.sign()[:, None]
    weight = torch.where(keep(batch), ratio.clamp(1 - batch.clip, 1 + batch.clip), 1.0)
    want = batch.advantage_B[:, None] * ((1 - batch.strength) + batch.strength * weight)
    torch.testing.assert_close(got, want)
    assert torch.equal(evidence, credit.privileged_gain(teacher, student, batch.mask_BT))


@given(batches())
def test_swapping_references_and_outcome_negates(batch: Batch):
    evidence = credit.contrastive_evidence(batch.plus_BT, batch.minus_BT, batch.mask_BT)
    swapped = credit.contrastive_evidence(batch.minus_BT, batch.plus_BT, batch.mask_BT)
    knobs = (batch.mask_BT, batch.strength, batch.clip)
    assert torch.equal(
        credit.modulate(-batch.advantage_B, swapped, *knobs),
        -credit.modulate(batch.advantage_B, evidence, *knobs),
    )


PULL = st.floats(-0.3, 0.3)
"""How far one reference moves a token's log-prob, nats; two of them stay inside the clip below."""


@given(PULL, PULL, st.sampled_from([1.0, -1.0]))
def test_p1_weight_ratio(a, b, sign):
    """w_CEPO / w_RLSD = (P_S / P-)^sign(A)."""
    student = torch.tensor([[-2.0]], dtype=torch.float64)
    A, mask = torch.tensor([sign], dtype=torch.float64), torch.ones(1, 1)
    cepo = credit.weights(A, credit.contrastive_evidence(student + a, student - b, mask), mask, 0.9)
    rlsd = credit.weights(A, credit.privileged_gain(student + a, student, mask), mask, 0.9)
    assert (cepo / rlsd).item() == pytest.approx(math.exp(b) ** sign)


@given(PULL, PULL)
def test_p1_sharper_exactly_where_the_answers_pull_apart(a, b):
    """|Delta_CEPO| > |Delta_RLSD| iff b (2a + b) > 0, with a = log P+/P_S and b = log P_S/P-."""
    assume(abs(b * (2 * a + b)) > 1e-9)
    student, mask = torch.tensor([[-2.0]], dtype=torch.float64), torch.ones(1, 1)
    cepo = credit.contrastive_evidence(student + a, student - b, mask).abs()
    rlsd = credit.privileged_gain(student + a, student, mask).abs()
    assert (cepo > rlsd).item() == (b * (2 * a + b) > 0)


def test_p1_both_directions():
    """Apart: r+ raises and r- lowers the token. Together: both raise it (style drift); CEPO does less."""
    student, mask = torch.tensor([[-2.0]]), torch.ones(1, 1)
    rlsd = credit.privileged_gain(student + 0.3, student, mask)
    apart = credit.contrastive_evidence(student + 0.3, student - 0.2, mask)
    together = credit.contrastive_evidence(student + 0.3, student + 0.2, mask)
    assert together.abs() < rlsd.abs() < apart.abs()


@given(batches(), st.floats(-5.0, 0.0))
def test_p2_filler_gets_multiplier_one(batch: Batch, drift):
    """P+ = P- != P_S: CEPO gives no credit where RLSD gives the whole drift."""
    student = batch.plus_BT.clamp(min=-40.0)
    told = student + drift
    evidence = credit.contrastive_evidence(told, told.clone(), batch.mask_BT)
    multiplier = credit.multiplier(batch.advantage_B, evidence, batch.mask_BT, batch.strength, batch.clip)
    assert torch.equal(multiplier, torch.ones_like(multiplier))
    gain = credit.privileged_gain(told, student, batch.mask_BT)
    torch.testing.assert_close(gain, torch.where(keep(batch), drift, 0.0).double())


@given(batches())
def test_p4_drift_is_bounded(batch: Batch):
    """The mean multiplier of a sequence stays within lambda eps_w of 1."""
    drift = (credit.multiplier(*batch.args()).mean(dim=-1) - 1).abs()
    assert (drift <= batch.strength * batch.clip + 1e-12).all()


def test_p4_credit_is_not_conserved():
    """Evidence that sums to 0 still adds credit: (cosh d - 1) lambda, because exp is convex."""
    d = 0.3
    multiplier = credit.multiplier(torch.ones(1), torch.tensor([[d, -d]]), torch.ones(1, 2), 0.5, 0.5)
    assert multiplier.mean().item() == pytest.approx(1 + 0.5 * (math.cosh(d) - 1))
