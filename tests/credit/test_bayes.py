"""P3 (arXiv 2605.19436): under one enumerated joint over (r, y), evidence is Bayes' rule token by token."""

import itertools

import numpy as np
import pytest
import torch

from cepo.credit.evidence import contrastive_evidence, marginal_logp

R, V, T = 4, 3, 3  # answers, vocabulary, tokens
SEQUENCES = list(itertools.product(range(V), repeat=T))


def joint(seed: int) -> np.ndarray:
    """A random table p(r, y_1, .., y_T)."""
    return np.random.default_rng(seed).dirichlet(np.ones(R * V**T)).reshape(R, *[V] * T)


def prefix_prob(p: np.ndarray, r: int, y: tuple[int, ...], length: int) -> float:
    """p(r, y_1 .. y_length): the rest summed out."""
    return float(p[(r, *y[:length])].sum())


def told_logp(p: np.ndarray, r: int) -> torch.Tensor:
    """log P(y_t | r, y_<t) of every sequence, (B, T)."""
    rows = [
        [np.log(prefix_prob(p, r, y, t + 1)) - np.log(prefix_prob(p, r, y, t)) for t in range(T)] for y in SEQUENCES
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("plus", "minus"), [(0, 1), (2, 0), (3, 2)])
def test_evidence_is_the_increment_of_the_log_posterior_odds(seed, plus, minus):
    p = joint(seed)
    evidence = contrastive_evidence(told_logp(p, plus), told_logp(p, minus), torch.ones(len(SEQUENCES), T))
    odds = torch.tensor(  # log p(r+ | y_1..y_t) / p(r- | y_1..y_t), t = 0 .. T; p(y_1..y_t) cancels
        [[np.log(prefix_prob(p, plus, y, t) / prefix_prob(p, minus, y, t)) for t in range(T + 1)] for y in SEQUENCES],
        dtype=torch.float64,
    )
    torch.testing.assert_close(evidence, odds.diff(dim=1))


@pytest.mark.parametrize("seed", range(5))
def test_evidence_telescopes_to_the_likelihood_ratio(seed):
    p = joint(seed)
    evidence = contrastive_evidence(told_logp(p, 0), told_logp(p, 1), torch.ones(len(SEQUENCES), T))
    likelihood = [[p[(r, *y)] / p[r].sum() for y in SEQUENCES] for r in (0, 1)]  # P(y | r)
    torch.testing.assert_close(evidence.sum(dim=1), torch.tensor(np.log(likelihood[0]) - np.log(likelihood[1])))


def test_marginal_is_the_told_distribution_of_an_unknown_wrong_answer():
    """At the first token, with equally likely wrong answers, P- is P(y_1 | r is one of them)."""
    p = joint(0)
    p /= p.reshape(R, -1).sum(axis=1).reshape(R, 1, 1, 1)  # a flat prior over answers
    valid = torch.tensor([[False], [True], [True], [False]]).expand(R, len(SEQUENCES))
    marginal = marginal_logp(torch.stack([told_logp(p, r) for r in range(R)]), valid)
    first = p[[1, 2]].sum(axis=(0, 2, 3)) / p[[1, 2]].sum()
    torch.testing.assert_close(marginal[:, 0], torch.tensor([np.log(first[y[0]]) for y in SEQUENCES]))
