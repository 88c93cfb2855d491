"""Each rule against its double-loop twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.rules.cpo import CPO, CPOOptions
from cepo.credit.rules.decisive import DECISIVE
from cepo.credit.rules.distilled_rl import DISTILLED_RL, DistilledRLOptions
from cepo.credit.rules.focused import FOCUSED, FocusedOptions
from cepo.credit.rules.posterior import POSTERIOR
from cepo.credit.rules.prob_mask import PROB_MASK, ProbMaskOptions
from cepo.credit.rules.rlcsd import RLCSD, RLCSDOptions
from cepo.credit.rules.scaled import SCALED, ScaledOptions
from cepo.credit.rules.scores import SCORES, SCORES_ADDED, AddedOptions, ScoresOptions
from cepo.credit.rules.values import VALUES, ValuesOptions
from tests import naive
from tests.credit.rule_cases import Case, cases

WEIGHT = st.floats(0.0, 3.0)


def agree(got: torch.Tensor, want: list[list[float]]) -> None:
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-8, atol=1e-10)


def delta(case: Case, first: str = "plus", second: str = "minus") -> list[list[float]]:
    lists = case.lists()
    return naive.dead_zone(naive.evidence(lists[first], lists[second], lists["mask"]), case.dead_zone)


@given(cases(), WEIGHT, WEIGHT)
def test_scaled(case: Case, praise: float, blame: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    weights = naive.scaled_weights(advantage, mask, praise, blame)
    got = case.credit(SCALED, ScaledOptions(praise, blame))
    agree(got.advantage_BT, naive.weighed(advantage, weights, mask, case.strength))


@pytest.mark.parametrize("form", ["quality", "weight"])
@given(case=cases(), scale=st.floats(0.0, 3.0))
def test_scores(form: str, case: Case, scale: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    assert case.quantities.scores_BT is not None
    weights = naive.score_weights(advantage, case.quantities.scores_BT.tolist(), case.clip, form, scale)
    got = case.credit(SCORES, ScoresOptions(form, scale))
    agree(got.advantage_BT, naive.weighed(advantage, weights, mask, case.strength))


@given(cases(), st.floats(-2.0, 2.0), st.floats(0.0, 1.0))
def test_scores_added(case: Case, beta: float, keep: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    assert case.quantities.scores_BT is not None
    shift = [
        [keep * a + beta * s - a for s in row]
        for a, row in zip(advantage, case.quantities.scores_BT.tolist(), strict=True)
    ]
    got = case.credit(SCORES_ADDED, AddedOptions(beta, keep))
    agree(got.advantage_BT, naive.added(advantage, naive.times(case.strength, shift), mask))


@pytest.mark.parametrize("form", ["difference", "baseline"])
@given(case=cases())
def test_values(form: str, case: Case) -> None:
    advantage, mask, has = case.lists()["advantage"], case.lists()["mask"], case.quantities
    assert has.scores_BT is not None
    assert has.pass_rate_B is not None
    assert has.deviation_B is not None
    given_ = (has.scores_BT.tolist(), mask, has.pass_rate_B.tolist(), has.deviation_B.tolist())
    shift = naive.value_shift(advantage, *given_, form)
    got = case.credit(VALUES, ValuesOptions(form))
    agree(got.advantage_BT, naive.added(advantage, naive.times(case.strength, shift), mask))


@given(cases(), st.floats(1.0, 5.0), st.floats(0.01, 2.0))
def test_focused(case: Case, cap: float, least: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    weights = naive.focused_weights(advantage, delta(case), mask, cap, least)
    got = case.credit(FOCUSED, FocusedOptions(cap, least))
    agree(got.evidence_BT, delta(case))
    agree(got.advantage_BT, naive.weighed(advantage, weights, mask, case.strength))


@given(cases())
def test_decisive(case: Case) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    weights = naive.decisive_weights(advantage, delta(case), mask, case.clip)
    got = case.credit(DECISIVE)
    agree(got.evidence_BT, delta(case))
    agree(got.advantage_BT, naive.weighed(advantage, weights, mask, case.strength))


@given(cases())
def test_posterior(case: Case) -> None:
    advantage, mask, has = case.lists()["advantage"], case.lists()["mask"], case.quantities
    assert has.pass_rate_B is not None
    assert has.verdict_B is not None
    assert has.deviation_B is not None
    assert has.group_size_B is not None
    evidence = delta(case, "plus", "rival")
    shift = naive.posterior_shift(
        evidence,
        mask,
        has.pass_rate_B.tolist(),
        has.verdict_B.tolist(),
        has.deviation_B.tolist(),
        [int(size) for size in has.group_size_B.tolist()],
    )
    got = case.credit(POSTERIOR)
    agree(got.evidence_BT, evidence)
    agree(got.advantage_BT, naive.added(advantage, naive.times(case.strength, shift), mask))


@pytest.mark.parametrize("two_means", [False, True])
@given(case=cases(), tau=st.floats(0.01, 2.0), beta=st.floats(0.0, 6.0), least=st.floats(0.0, 0.5))
def test_rlcsd(two_means: bool, case: Case, tau: float, beta: float, least: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    options = (tau, beta, least, two_means, 0.7)
    got = case.credit(RLCSD, RLCSDOptions(*options))
    agree(got.evidence_BT, delta(case))
    agree(got.advantage_BT, naive.rlcsd_advantages(advantage, delta(case), mask, case.strength, options))


@given(cases(), st.floats(0.01, 1.0))
def test_prob_mask(case: Case, sure: float) -> None:
    lists = case.lists()
    weights = naive.prob_mask_weights(lists["student"], sure)
    got = case.credit(PROB_MASK, ProbMaskOptions(sure))
    agree(got.advantage_BT, naive.weighed(lists["advantage"], weights, lists["mask"], case.strength))


@given(cases(), st.floats(0.1, 5.0))
def test_cpo(case: Case, bound: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    evidence = delta(case, "plus", "student")
    shift = [[case.strength * min(bound, max(-bound, d)) for d in row] for row in evidence]
    got = case.credit(CPO, CPOOptions(bound))
    agree(got.evidence_BT, evidence)
    agree(got.advantage_BT, naive.added(advantage, shift, mask, keep_sign=True, where_equal=True))


@given(cases(), st.floats(1.0, 9.0))
def test_distilled_rl(case: Case, ratio: float) -> None:
    advantage, mask = case.lists()["advantage"], case.lists()["mask"]
    evidence = delta(case, "plus", "student")
    weights = naive.distilled_weights(advantage, evidence, mask, ratio)
    got = case.credit(DISTILLED_RL, DistilledRLOptions(ratio))
    agree(got.evidence_BT, evidence)
    agree(got.advantage_BT, naive.weighed(advantage, weights, mask, case.strength))
