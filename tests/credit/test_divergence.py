"""Distribution matching: against double loops in float64, against TRL's own loss, and its properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from trl.experimental.gold.gold_trainer import GOLDTrainer

from cepo.credit.divergence import (
    LOWEST,
    clipped_ratio,
    full_vocabulary,
    generalised_jsd,
    student_top_k_with_tail,
    taught_tokens,
    teacher_top_k,
)

BETAS = [0.0, 0.1, 0.5, 0.9, 1.0]
seeds = st.integers(0, 10_000)


def logits(seed: int, rows: int = 3, vocabulary: int = 11, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (scale * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64) for _ in "st")
    return student, teacher


def naive_jsd(student: list[float], teacher: list[float], beta: float) -> float:
    """Double loop over one row of probabilities."""
    kl = lambda p, q: sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
    if beta in (0.0, 1.0):
        return kl(teacher, student) if beta == 0.0 else kl(student, teacher)
    mixture = [(1 - beta) * s + beta * t for s, t in zip(student, teacher, strict=True)]
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


@given(seed=seeds, beta=st.sampled_from(BETAS))
def test_the_full_vocabulary_is_the_naive_sum(seed: int, beta: float) -> None:
    student, teacher = logits(seed)
    found = generalised_jsd(*full_vocabulary(student, teacher), beta)
    expected = [
        naive_jsd(s.tolist(), t.tolist(), beta) for s, t in zip(student.softmax(-1), teacher.softmax(-1), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-9)


@given(seed=seeds, beta=st.sampled_from(BETAS))
def test_trls_own_loss_agrees(seed: int, beta: float) -> None:
    student, teacher = logits(seed)
    theirs = GOLDTrainer.generalized_jsd_loss(student[None], teacher[None], beta=beta, reduction="sum")
    torch.testing.assert_close(generalised_jsd(*full_vocabulary(student, teacher), beta).sum(), theirs)


@given(seed=seeds, k=st.integers(1, 12), beta=st.sampled_from(BETAS))
def test_top_k_renormalised_is_the_naive_sum(seed: int, k: int, beta: float) -> None:
    student, teacher = logits(seed)
    found = generalised_jsd(*teacher_top_k(student, teacher, k), beta)
    for row in range(3):
        order = sorted(range(11), key=lambda v: -teacher[row, v].item())[:k]
        p, q = ([d[row].softmax(-1)[v].item() for v in order] for d in (student, teacher))
        p, q = [a / sum(p) for a in p], [b / sum(q) for b in q]
        assert found[row].item() == pytest.approx(naive_jsd(p, q, beta), abs=1e-10)


@given(seed=seeds, k=st.integers(1, 10), beta=st.sampled_from(BETAS))
def test_top_k_with_tail_is_the_naive_sum(seed: int, k: int, beta: float) -> None:
    student, teacher = logits(seed)
    s, t = student_top_k_with_tail(student, teacher, k)
    torch.testing.assert_close(s.exp().sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(t.exp().sum(-1), torch.ones(3, dtype=torch.float64))
    found = generalised_jsd(s, t, beta)
    for row in range(3):
        order = sorted(range(11), key=lambda v: -student[row, v].item())[:k]
        p, q = ([d[row].softmax(-1)[v].item() for v in order] for d in (student, teacher))
        p, q = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
        assert found[row].item() == pytest.approx(naive_jsd(p, q, beta), abs=1e-9)


def test_a_tail_below_the_resolution_of_one_minus_is_kept() -> None:
    student = torch.tensor([[50.0, 0.0, 0.0]])
    (logp,), _ = student_top_k_with_tail(student, student, 1)
    assert logp[1].item() == pytest.approx(math.log(2) - 50, rel=1e-5)
    (whole,), _ = student_top_k_with_tail(student, student, 5)
    assert whole.shape == (4,)
    assert whole[-1] == LOWEST


def test_a_top_that_is_the_whole_vocabulary_has_a_gradient() -> None:
    student, teacher = logits(seed=3)
    leaf = student.clone().requires_grad_()
    generalised_jsd(*student_top_k_with_tail(leaf, teacher, student.shape[-1]), 0.5).sum().backward()
    whole = student.clone().requires_grad_()
    generalised_jsd(*full_vocabulary(whole, teacher), 0.5).sum().backward()
    torch.testing.assert_close(leaf.grad, whole.grad)


@given(seed=seeds, beta=st.sampled_from(BETAS))
def test_zero_at_equality_and_never_negative(seed: int, beta: float) -> None:
    student, teacher = logits(seed)
    assert generalised_jsd(*full_vocabulary(student, student), beta).abs().max() < 1e-12
    assert (generalised_jsd(*full_vocabulary(student, teacher), beta) > 0).all()
    assert (generalised_jsd(*student_top_k_with_tail(student, teacher, 4), beta) >= -1e-12).all()


@given(seed=seeds)
def test_symmetry_and_limits(seed: int) -> None:
    s, t = full_vocabulary(*logits(seed, scale=1.0))
    torch.testing.assert_close(generalised_jsd(s, t, 0.5), generalised_jsd(t, s, 0.5))
    torch.testing.assert_close(generalised_jsd(s, t, 0.3), generalised_jsd(t, s, 0.7))
    small = 1e-7
    torch.testing.assert_close(generalised_jsd(s, t, small) / small, generalised_jsd(s, t, 0.0), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        generalised_jsd(s, t, 1 - small) / small, generalised_jsd(s, t, 1.0), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("support", [full_vocabulary, teacher_top_k, student_top_k_with_tail])
def test_the_gradient_is_the_students_and_finite(beta: float, support: object) -> None:
    student, teacher = logits(0)
    student[0, 2] = teacher[1, 3] = -torch.inf
    student.requires_grad_()
    teacher.requires_grad_()
    extra = () if support is full_vocabulary else (4,)
    loss = generalised_jsd(*support(student, teacher, *extra), beta).sum()  # pyright: ignore[reportCallIssue]
    loss.backward()
    assert loss.isfinite()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0


def test_the_gradient_moves_the_student_to_the_teacher() -> None:
    student, teacher = (d.float() for d in logits(3))
    for beta in (0.0, 0.5, 1.0):
        x = student.clone().requires_grad_()
        before = generalised_jsd(*full_vocabulary(x, teacher), beta).sum()
        before.backward()
        assert x.grad is not None
        after = generalised_jsd(*full_vocabulary(x.detach() - 0.1 * x.grad, teacher), beta).sum()
        assert after < before


def test_the_importance_weight_is_bounded_and_constant() -> None:
    logp = torch.tensor([[0.0, -1.0, 500.0]], requires_grad=True)
    torch.testing.assert_close(
        clipped_ratio(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]]), 2.0),
        torch.tensor([[0.5, -1.0]]).exp(),
    )
    ratio = clipped_ratio(logp, torch.tensor([[0.0, 0.0, 0.0]]), 2.0)
    assert not ratio.requires_grad
    torch.testing.assert_close(clipped_ratio(logp, logp - 1.0, 0.5), torch.full_like(logp, 0.5))
    torch.testing.assert_close(ratio, torch.tensor([[1.0, math.exp(-1.0), 2.0]]))


def test_taught_tokens() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert taught_tokens(mask, torch.tensor([1.0, 0.0])).tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_bad_values_are_named() -> None:
    student, teacher = logits(0)
    with pytest.raises(ValueError, match=r"1\.5"):
        generalised_jsd(student, teacher, 1.5)
    with pytest.raises(ValueError, match="got 0"):
        teacher_top_k(student, teacher, 0)
    with pytest.raises(ValueError, match=r"0\.0"):
        clipped_ratio(student, teacher, 0.0)
