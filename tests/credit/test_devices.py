"""A step of credit where its tensors are not on the CPU: whatever it makes is made where the mask is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cepo.credit.control import CONTROLS, Control
from cepo.credit.metrics import step_sums
from cepo.credit.references import References
from cepo.credit.rules import Credit, Inputs, Rule, credit_from
from cepo.credit.rules.rule import QUANTITIES
from cepo.credit.step import assign_credit, logps_by_prompt, plan_scoring
from cepo.glossary import Told
from tests.credit.rule_cases import NAMES, rule_of
from tests.credit.test_step import GROUPS, MINUS, PLUS, WIDTH, asking, row, step
from tests.elsewhere import DEVICE, Elsewhere, elsewhere

SEVERAL = Told(("8", "9"), "group")


def assign_all(inputs: Inputs) -> Credit:
    """Reads all that there is."""
    read = [getattr(inputs, f"{name}_{'BT' if name in ('entropy', 'scores') else 'B'}") for name in QUANTITIES]
    assert {value.device for value in read} == {DEVICE}
    return credit_from(inputs, inputs.logp("plus") - inputs.logp("minus"))


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_step_stays_where_the_mask_is(kind: str) -> None:
    rule = Rule("all", "a test", ("plus", "minus"), assign_all, frozenset(QUANTITIES))
    rows = [row(0, scores=[0.5] * WIDTH), row(1, advantage=-1.0, scores=[1.0, 2.0])]
    told: dict[int, References] = {index: {"plus": PLUS, "minus": MINUS if index else SEVERAL} for index in (0, 1)}
    requests = plan_scoring(rows, told, rule, asking())
    with elsewhere():
        logp_NT = torch.linspace(-3.0, -0.1, len(requests) * WIDTH).view(len(requests), WIDTH).to(DEVICE)
        logps = logps_by_prompt(requests, logp_NT, told)
        entropy = {index: torch.ones(WIDTH, device=DEVICE) for index in (0, 1)}
        advantage_B, mask_BT = torch.tensor([1.0, -1.0], device=DEVICE), torch.ones(2, WIDTH, device=DEVICE)
        credit = assign_credit(step(rule, control=Control(kind)), rows, logps, advantage_B, mask_BT, entropy).credit
        assert credit is not None
        assert {part.device for part in (credit.evidence_BT, credit.weight_BT, credit.advantage_BT)} == {DEVICE}


def test_a_steps_sums_are_made_where_the_mask_is() -> None:
    with elsewhere():
        mask_BT, advantage_B = torch.ones(6, WIDTH, device=DEVICE), torch.zeros(6, device=DEVICE)
        told: dict[int, References] = {index: {} for index in range(6)}
        credit = Credit(*(torch.ones(1, WIDTH, device=DEVICE) for _ in range(3)))
        done = replace(step(rule_of("cepo")), references=told, rows=(0,), credit=credit)
        assert step_sums(done, advantage_B, mask_BT).device == DEVICE


ROWS = [row(index, group, advantage, scores=[0.5, -0.5, 1.0]) for index, group, advantage in
        ((0, 4, 1.0), (1, 4, -1.0), (2, 4, -0.5), (4, 5, 0.5))]  # fmt: skip


def drawn(count: int, seed: int) -> Tensor:
    return Elsewhere(-torch.rand(count, WIDTH, generator=torch.Generator().manual_seed(seed)))


def credited(rule: Rule) -> Tensor:
    """Advantages of the rows, one of which has a log-prob that is not finite."""
    logps = {one.index: {prompt: drawn(1, 7 * one.index + len(prompt))[0] for prompt in rule.prompts} for one in ROWS}
    if rule.prompts:
        logps[4][rule.prompts[0]] = Elsewhere(torch.full((WIDTH,), torch.nan))
    mask = torch.ones(len(GROUPS.places), WIDTH, dtype=torch.long)
    mask[1, 2:] = 0
    found = assign_credit(
        step(rule), ROWS, logps, Elsewhere(torch.tensor([1.0, -1.0, -0.5, 0, 0.5, 0])),
        Elsewhere(mask), {one.index: drawn(1, one.index)[0].abs() for one in ROWS},
    )  # fmt: skip
    assert found.credit is not None
    assert found.nonfinite == int(bool(rule.prompts))
    for name in ("evidence_BT", "weight_BT", "advantage_BT"):
        assert getattr(found.credit, name).device == DEVICE
    return found.credit.advantage_BT


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_makes_its_tensors_where_its_rows_are(name: str) -> None:
    with elsewhere():
        credited(rule_of(name))
