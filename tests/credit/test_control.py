"""Controls: what a rule's credit is worth without its evidence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cepo.credit.control import Control, control_credit
from cepo.credit.groups import LocalGroups
from cepo.credit.rules import Credit, Inputs, Knobs, Quantities, Rule, get_method
from cepo.credit.settings import CreditSettings
from cepo.credit.step import Row, StepCredit, assign_credit
from cepo.errors import SettingError
from cepo.glossary import Group, Rollout, Told
from tests import naive
from tests.credit.rule_cases import FEW, NAMES, Case, cases, rule_of

PARTS = ("evidence_BT", "weight_BT", "advantage_BT")
CPU = torch.device("cpu")


def alone(sums: Tensor) -> Tensor:
    return sums


def controlled(control: Control, case: Case, rule: Rule, total: Any = alone, first: int = 0) -> tuple[Credit, Credit]:
    """The rule's own credit, and the same under a control."""
    credit = case.credit(rule)
    draws = [f"1/{first + row}" for row in range(len(case.advantage_B))]
    after = control_credit(control, case.inputs(rule), credit, draws, total, CPU)
    assert after is not None
    return credit, after


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(case=cases(), seed=st.integers(0, 99), mix=st.floats(0.0, 1.0))
def test_permuted_keeps_each_rows_tokens_and_moves_them_whole(name: str, case: Case, seed: int, mix: float) -> None:
    before, after = controlled(Control("permuted", mix, seed), case, rule_of(name))
    for row, keep in enumerate(case.keep):
        triples = [
            sorted(zip(*(getattr(credit, part)[row, keep].tolist() for part in PARTS), strict=True))
            for credit in (before, after)
        ]
        assert triples[0] == triples[1]
    for part in PARTS:
        assert torch.equal(getattr(before, part)[~case.keep], getattr(after, part)[~case.keep])


def long_case(rows: int = 3, tokens: int = 400) -> Case:
    rng = torch.Generator().manual_seed(0)
    logps = {prompt: -2 * torch.rand(rows, tokens, generator=rng).double() for prompt in ("plus", "minus", "student")}
    up_down = torch.tensor([1.5, -0.5, -1.0] * rows)[:rows].double()
    return Case(up_down, torch.ones(rows, tokens, dtype=torch.bool), logps, Quantities(), 1.0, 0.5)


def moved(control: Control, case: Case | None = None) -> Tensor:
    """Tokens whose weight is another one, (B, T)."""
    before, after = controlled(control, case or long_case(), rule_of("cepo"))
    return before.evidence_BT != after.evidence_BT


def test_permuted_moves_nearly_all_and_the_mix_a_share() -> None:
    assert moved(Control("permuted")).double().mean() > 0.95
    assert not moved(Control("permuted", 0.0)).any()
    assert moved(Control("permuted", 0.3)).double().mean().item() == pytest.approx(0.3, abs=0.05)


def test_draws_depend_on_seed_step_and_row_and_on_nothing_else() -> None:
    case = long_case()
    credit = case.credit(rule_of("cepo"))

    def drawn(rows: list[int], draws: list[str], seed: int = 0, kind: str = "permuted") -> Tensor:
        taken = Credit(*(getattr(credit, part)[rows] for part in PARTS))
        inputs = case.taking(rows).inputs(rule_of("cepo"))
        after = control_credit(Control(kind, seed=seed), inputs, taken, draws, alone, CPU)
        assert after is not None
        return after.weight_BT

    for kind in ("permuted", "random"):
        whole = drawn([0, 1, 2], ["1/0", "1/1", "1/2"], kind=kind)
        assert torch.equal(drawn([1], ["1/1"], kind=kind), whole[[1]]), "equal on any number of processes"
        assert not torch.equal(drawn([1], ["2/1"], kind=kind), whole[[1]])
        assert not torch.equal(drawn([1], ["1/3"], kind=kind), whole[[1]])
        assert not torch.equal(drawn([1], ["1/1"], seed=1, kind=kind), whole[[1]])


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(case=cases())
def test_mass_keeps_the_praise_and_the_blame_of_the_step(name: str, case: Case) -> None:
    before, after = controlled(Control("mass"), case, rule_of(name))
    mask, advantage = case.mask_BT.tolist(), case.advantage_B.tolist()
    for side in (1, -1):
        rows = case.advantage_B.sign() == side
        tokens = case.keep & rows[:, None]
        if not tokens.any():
            continue
        want = naive.mean_weight(advantage, before.advantage_BT.tolist(), mask, side)
        got = (after.advantage_BT / case.advantage_B[:, None])[tokens]
        torch.testing.assert_close(got, torch.full_like(got, want))
        torch.testing.assert_close(after.weight_BT[tokens], got)
    equal = case.keep & (case.advantage_B == 0)[:, None]
    if equal.any():
        flat = after.advantage_BT[equal]
        torch.testing.assert_close(flat, torch.full_like(flat, before.advantage_BT[equal].mean().item()))
    outside = after.advantage_BT[~case.keep]
    assert torch.equal(outside, case.advantage_B[:, None].expand_as(case.keep)[~case.keep])


def test_mass_is_that_of_all_processes() -> None:
    """Two processes that add their sums give what one would."""
    case = long_case(rows=4)
    _, whole = controlled(Control("mass"), case, rule_of("cepo"))
    sums: list[Tensor] = []
    halves = ([0, 1], [2, 3])

    def collect(local: Tensor) -> Tensor:
        sums.append(local)
        return local

    for rows in halves:
        controlled(Control("mass"), case.taking(rows), rule_of("cepo"), collect)
    for rows in halves:
        _, part = controlled(Control("mass"), case.taking(rows), rule_of("cepo"), lambda _: sums[0] + sums[1])
        torch.testing.assert_close(part.advantage_BT, whole.advantage_BT[rows])


def test_a_process_without_credited_rows_adds_nothing_but_is_asked() -> None:
    asked: list[Tensor] = []
    control_credit(Control("mass"), None, None, [], lambda sums: asked.append(sums) or sums, CPU)
    controlled(Control("mass"), long_case(), rule_of("cepo"), lambda sums: asked.append(sums) or sums)
    nothing, something = asked
    assert not nothing.any()
    assert (nothing.dtype, nothing.shape) == (something.dtype, something.shape), "what is summed must be alike"


@FEW
@given(cases(nonzero=True))
def test_random_weights_lie_in_cepos_bounds(case: Case) -> None:
    _, after = controlled(Control("random"), case, rule_of("cepo"))
    assert ((after.weight_BT - 1).abs() <= case.clip + 1e-12).all()
    mixed = (1 - case.strength) + case.strength * after.weight_BT
    torch.testing.assert_close(after.advantage_BT, case.advantage_B[:, None] * mixed)
    assert not after.evidence_BT.any()
    assert torch.equal(after.weight_BT[~case.keep], torch.ones_like(after.weight_BT[~case.keep]))


def test_random_weights_fill_the_bounds_evenly() -> None:
    _, after = controlled(Control("random"), long_case(), rule_of("cepo"))
    weights = after.weight_BT.flatten()
    assert weights.mean().item() == pytest.approx(1.0, abs=0.03)
    assert weights.min() < 0.52
    assert weights.max() > 1.48


@FEW
@given(cases())
def test_off_is_the_rules_own(case: Case) -> None:
    before, after = controlled(Control(), case, rule_of("cepo"))
    assert after is before


# --- in a step -----------------------------------------------------------------------------------------------


def step_of(control: Control) -> StepCredit:
    rollouts = tuple(Rollout(a, a, a == "1", float(a == "1")) for a in ("1", "2"))
    groups = LocalGroups({0: Group("1", rollouts)}, {0: (0, 0), 1: (0, 1)}, first_row=6)
    told = {"plus": Told(("1",), "gold"), "minus": Told(("2",), "group")}
    cepo = get_method("cepo")
    asked = StepCredit(3, cepo, Knobs(1.0, 0.5), groups, {0: told, 1: told}, control=control)
    rows = [Row(row, 0, "p", [1], [2] * 8, None, advantage) for row, advantage in enumerate((0.7, -0.7))]
    rng = torch.Generator().manual_seed(0)
    logps = {row: {name: -torch.rand(8, generator=rng) for name in ("plus", "minus")} for row in (0, 1)}
    mask_BT = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    return assign_credit(asked, rows, logps, torch.tensor([0.7, -0.7]), mask_BT)


def test_a_step_puts_the_rules_credit_under_its_control() -> None:
    plain, other = step_of(Control()), step_of(Control("permuted", seed=1))
    assert plain.credit is not None
    assert other.credit is not None
    assert isinstance(plain.inputs, Inputs)
    assert not torch.equal(plain.credit.weight_BT, other.credit.weight_BT)
    for row, count in enumerate((8, 5)):
        assert sorted(plain.credit.weight_BT[row, :count].tolist()) == sorted(
            other.credit.weight_BT[row, :count].tolist()
        )
    mass = step_of(Control("mass")).credit
    assert mass is not None
    assert len(set(mass.weight_BT[0].tolist())) == 1


@pytest.mark.parametrize("kind", ["permuted", "random"])
def test_a_row_draws_by_its_place_in_the_whole_step(kind: str) -> None:
    """Its step and its row in the global batch, so that it draws the same on any number of processes."""
    plain, under = step_of(Control()), step_of(Control(kind, seed=1))
    assert under.credit is not None
    want = control_credit(under.control, plain.inputs, plain.credit, ["3/6", "3/7"], alone, CPU)
    assert want is not None
    assert torch.equal(under.credit.weight_BT, want.weight_BT)


def test_records_name_the_control() -> None:
    controls = (Control(), Control("mass"), Control("permuted"), Control("permuted", 0.5), Control("random"))
    names = [step_of(control).name for control in controls]
    assert names == ["cepo", "cepo+mass", "cepo+permuted", "cepo+permuted(0.5)", "cepo+random"]


# --- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grpo", "opsd", "sdpo"])
def test_where_there_is_no_credit_there_is_no_control(method: str) -> None:
    with pytest.raises(SettingError, match=f"credit_control='mass' takes the credit .* method='{method}' gives none"):
        CreditSettings.resolve("default", method, {"credit_control": "mass"})


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"credit_control": "shuffled"}, "unknown credit_control 'shuffled'; choose from off, permuted, mass, random"),
        ({"credit_mix": 1.5, "credit_control": "permuted"}, "credit_mix must lie in"),
        ({"credit_mix": 0.5, "credit_control": "mass"}, "credit_mix=0.5 is of credit_control='permuted'"),
        ({"credit_mix": 0.5}, "credit_mix=0.5 is of credit_control='permuted'"),
    ],
)
def test_a_control_that_cannot_be_is_named(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        CreditSettings.resolve("default", "cepo", given_)


def test_settings_make_the_control() -> None:
    settings = CreditSettings.resolve("default", "cepo", {"credit_control": "permuted", "credit_mix": 0.25})
    assert settings.control(7) == Control("permuted", 0.25, 7)
