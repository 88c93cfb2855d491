"""`posterior` on an enumerable world: a baseline of the prefix, which leaves the expected policy gradient alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from cepo.credit.references import ReferencePolicy, choose_references
from cepo.credit.rules import Inputs, Knobs, Quantities
from cepo.credit.rules.posterior import POSTERIOR, assign_posterior
from cepo.credit.settings import CreditSettings
from cepo.errors import SettingError
from cepo.glossary import Group, Rollout
from tests.credit.rule_cases import Case, cases
from tests.credit.test_bayes import SEQUENCES, T, V, joint, prefix_prob, told_logp

G, RIGHT_OTHERS, DEVIATION = 5, 2, 0.5
REWARD = torch.tensor([float(y[0] == 1 or y[2] == y[1]) for y in SEQUENCES], dtype=torch.float64)


def inputs(plus_BT: Tensor, rival_BT: Tensor, others: float = RIGHT_OTHERS, size: float = G) -> Inputs:
    """Every sequence once, each with the same siblings, of which `others` are right."""
    pass_rate_B = (others + REWARD) / size
    group_size_B = torch.full_like(REWARD, float(size))
    return Inputs(
        "posterior",
        (REWARD - pass_rate_B) / (DEVIATION + 1e-4),
        torch.ones(len(SEQUENCES), T),
        Knobs(1.0, 0.5),
        {"plus": plus_BT, "rival": rival_BT},
        Quantities(
            pass_rate_B=pass_rate_B,
            verdict_B=REWARD > 0,
            deviation_B=torch.full_like(REWARD, DEVIATION),
            group_size_B=group_size_B,
        ),
    )


def policy(seed: int) -> list[Tensor]:
    """Logits of y_1, of y_2 after y_1, of y_3 after both."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(*[V] * (t + 1), generator=rng, dtype=torch.float64).requires_grad_() for t in range(T)]


def expected_gradient(logits: list[Tensor], advantage_BT: Tensor) -> Tensor:
    """E over sequences of sum_t A_t grad log pi(y_t | y_<t)."""
    logp_BT = torch.stack([torch.stack([logits[t].log_softmax(-1)[y[: t + 1]] for t in range(T)]) for y in SEQUENCES])
    prob_B = logp_BT.sum(1).exp().detach()
    objective = (prob_B[:, None] * advantage_BT * logp_BT).sum()
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(objective, logits)])


def random_teacher(seed: int) -> Tensor:
    """A teacher of any quality: log-probs of each token that depend on the prefix alone."""
    logits = policy(seed)
    with torch.no_grad():
        rows = [torch.stack([3 * logits[t].log_softmax(-1)[y[: t + 1]] for t in range(T)]) for y in SEQUENCES]
    return torch.stack(rows)


@pytest.mark.parametrize("seed", range(5))
def test_it_leaves_reinforces_gradient_alone_whatever_the_teachers_say(seed: int) -> None:
    given_ = inputs(random_teacher(10 + seed), random_teacher(20 + seed))
    advantage_BT = assign_posterior(given_).advantage_BT
    base_BT = given_.advantage_B[:, None].expand_as(advantage_BT)
    assert (advantage_BT - base_BT).abs().max() > 0.3, "it does something"
    logits = policy(seed)
    want = expected_gradient(logits, base_BT)
    assert want.abs().max() > 0.01
    torch.testing.assert_close(expected_gradient(logits, advantage_BT), want, rtol=0.0, atol=1e-12)


def test_references_that_depend_on_the_row_bias_it() -> None:
    """The same, but P- is told the row's own last token, as `own` would."""
    plus, rival = random_teacher(10), random_teacher(20)
    own = rival.clone()
    own[:, 0] -= torch.tensor([float(y[2]) for y in SEQUENCES])
    logits, given_ = policy(0), inputs(plus, own)
    want = expected_gradient(logits, given_.advantage_B[:, None].expand(-1, T))
    gap = expected_gradient(logits, assign_posterior(given_).advantage_BT) - want
    assert gap.abs().max() > 0.003


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("plus", "minus"), [(0, 1), (3, 2)])
def test_under_one_joint_it_is_the_probability_of_being_right(seed: int, plus: int, minus: int) -> None:
    """V_{t-1} = P(r+ | y_<t, r+ or r-), read off A - A_t."""
    p, size = joint(seed), 100_000
    prior = p[plus].sum() / (p[plus].sum() + p[minus].sum())
    given_ = inputs(told_logp(p, plus), told_logp(p, minus), others=float(prior) * (size - 1), size=size)
    shift_BT = given_.advantage_B[:, None] - assign_posterior(given_).advantage_BT
    value_BT = float(prior) + shift_BT * (DEVIATION + 1e-4) * size / (size - 1)
    told = [[(prefix_prob(p, plus, y, t), prefix_prob(p, minus, y, t)) for t in range(T)] for y in SEQUENCES]
    want = torch.tensor([[a / (a + b) for a, b in row] for row in told], dtype=torch.float64)
    torch.testing.assert_close(value_BT, want, rtol=1e-9, atol=1e-9)


def test_it_takes_the_variance_that_a_good_teacher_explains() -> None:
    """Teachers that read the reward off the prefix: what is decided is neither praised nor blamed any more."""
    p = np.zeros((2, *[V] * T))
    for y, reward in zip(SEQUENCES, REWARD.tolist(), strict=True):
        p[(0 if reward else 1, *y)] = 1 / len(SEQUENCES)
    p += 1e-9
    given_ = inputs(told_logp(p, 0), told_logp(p, 1))
    advantage_BT = assign_posterior(given_).advantage_BT
    decided = torch.tensor([y[0] == 1 for y in SEQUENCES])  # right from the first token on
    assert advantage_BT[decided, 1:].abs().max() < 0.01
    assert (advantage_BT[decided, 0] - given_.advantage_B[decided]).abs().max() < 1e-12


@given(cases())
def test_it_is_bounded(case: Case) -> None:
    """|A_t - A| <= lambda / std."""
    credit = case.credit(POSTERIOR)
    assert case.quantities.deviation_B is not None
    shift = (credit.advantage_BT - case.advantage_B[:, None]).abs()
    assert (shift <= case.strength / case.quantities.deviation_B[:, None] + 1e-12).all()


@given(cases())
def test_no_evidence_is_grpo_bitwise(case: Case) -> None:
    same = Case(**{**vars(case), "logps": {**case.logps, "rival": case.logps["plus"]}})
    got = same.credit(POSTERIOR).advantage_BT
    assert torch.equal(got, case.advantage_B[:, None].expand_as(got))


# --- its references -----------------------------------------------------------------------------------------


def group(*answers: str) -> Group:
    return Group("1", tuple(Rollout(f"so {a}", a, a == "1", float(a == "1")) for a in answers))


@pytest.mark.parametrize("policy_name", ["sampled", "worst", "common", "marginal", "own"])
def test_what_a_rival_is_does_not_depend_on_what_the_row_says(policy_name: str) -> None:
    policy_, told = ReferencePolicy(minus=policy_name), {}
    for own in ("1", "2", "3", "9"):
        told[own] = choose_references(group(own, "2", "3", "3", "1"), ("rival",), policy_, step=1, index=0)[0]["rival"]
    assert len({one.texts for one in told.values()}) == 1
    assert told["1"].texts
    assert told["3"].is_own == ("3" in told["3"].texts)
    minus = {
        own: choose_references(group(own, "2", "3", "3", "1"), ("minus",), policy_, step=1, index=0)[0]["minus"].texts
        for own in ("2", "3")
    }
    assert minus["2"] != minus["3"], "whereas r- depends on it"


def test_without_another_wrong_rollout_there_is_no_rival() -> None:
    told = choose_references(group("2", "1", "1"), ("rival",), ReferencePolicy(fallback="grpo"), step=1, index=0)
    assert [one["rival"].texts for one in told] == [(), ("2",), ("2",)]


def test_own_references_are_refused() -> None:
    with pytest.raises(SettingError, match="reference_minus='own' does; use 'marginal'"):
        CreditSettings.resolve("default", "posterior", {"reference_minus": "own"})
    settings = CreditSettings.resolve("default", "posterior", {})
    assert (settings.reference_minus, settings.strength(500)) == ("marginal", 1.0)


@pytest.mark.parametrize("right", range(1, 8))
def test_without_evidence_it_is_grpo_bitwise_at_every_pass_rate(right: int) -> None:
    verdict = torch.arange(8) < right
    flat = torch.full((8, 3), -1.0)
    rate = verdict.float().mean().expand(8)
    quantities = Quantities(
        pass_rate_B=rate,
        verdict_B=verdict,
        deviation_B=verdict.float().std().expand(8),
        group_size_B=torch.full((8,), 8.0),
    )
    advantage = verdict.float() - rate
    case = Case(advantage, torch.ones(8, 3, dtype=torch.bool), {"plus": flat, "rival": flat}, quantities, 1.0, 0.5)
    assert torch.equal(case.credit(POSTERIOR).advantage_BT, advantage[:, None].expand(8, 3))
