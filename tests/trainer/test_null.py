"""The noise floor: irrelevant references, what their evidence is, and the dead zone that it sets."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cepo.credit.groups import LocalGroups
from cepo.credit.references import NEUTRAL
from cepo.credit.rules import METHODS, Inputs, Knobs, Rule
from cepo.credit.settings import CreditSettings
from cepo.credit.step import Row
from cepo.glossary import Group, Rollout
from cepo.trainer.null import null_level, null_references
from tests.trainer.conftest import MakeTrainer

GROUP = Group("12", tuple(Rollout("", answer, answer == "12", 0.0) for answer in ("12", "7", None)))


def rule(name: str) -> Rule:
    method = METHODS[name]
    assert isinstance(method, Rule)
    return method


def row(index: int, group: int, tokens: int = 2) -> Row:
    return Row(index, group, "p", [1], [5, 6][:tokens], None, 1.0)


GROUPS = {0: GROUP, 1: Group("30", GROUP.rollouts), 2: Group("41", GROUP.rollouts)}
PLACES = {index: divmod(index, 3) for index in range(9)}


def everyone(items: list[Any]) -> list[Any]:
    return items


@pytest.mark.parametrize("name", ["cepo", "rlsd"])
def test_null_references_are_of_other_problems(name: str) -> None:
    rows = [row(0, 0), row(1, 0), row(5, 1)]
    chosen = null_references(rule(name), rows, LocalGroups(GROUPS, PLACES), 2, "s", everyone)
    assert len(chosen) == 2
    assert chosen.keys() <= {0, 1, 5}
    for index, told in chosen.items():
        assert set(told) == set(rule(name).references)
        texts = [text for one in told.values() for text in one.texts]
        assert len(texts) == len(set(texts)) == len(rule(name).references)
        own = GROUPS[PLACES[index][0]].gold
        assert set(texts) <= {"12", "30", "41", *NEUTRAL} - {own, "12", "7"}
        assert {one.source for one in told.values()} == {"null"}
    assert null_references(rule(name), [], LocalGroups(GROUPS, PLACES), 2, "s", everyone) == {}


def test_null_rows_are_the_same_on_any_number_of_processes() -> None:
    """Two processes of three rows each draw what one process of six draws."""
    cepo, rows = rule("cepo"), [row(index, index // 3) for index in range(6)]
    whole = null_references(cepo, rows, LocalGroups(GROUPS, PLACES), 3, "s", everyone)
    assert 0 < len([index for index in whole if index < 3]) < 3, "the draw lies on one process: a vacuous comparison"
    halves = []
    for process in (0, 1):
        groups = {process: GROUPS[process]}
        places = {local: (process, local) for local in range(3)}
        halves.append((LocalGroups(groups, places, 3 * process), [row(local, process) for local in range(3)]))
    gathered: list[list[Any]] = []  # what each collective call of one process would bring from both
    for local, own in halves:
        sent: list[list[Any]] = []
        null_references(cepo, own, local, 3, "s", lambda items, sent=sent: sent.append(items) or items)
        gathered.append(sent)
    calls = [[*a, *b] for a, b in zip(*gathered, strict=True)]
    split: dict[int, Any] = {}
    for local, own in halves:
        answers = iter(calls)
        found = null_references(cepo, own, local, 3, "s", lambda items, answers=answers: next(answers))
        split |= {local.first_row + index: told for index, told in found.items()}
    # The third group's answer 41 is not in the batch of two groups.
    two = LocalGroups({0: GROUPS[0], 1: GROUPS[1]}, {index: divmod(index, 3) for index in range(6)})
    assert split == null_references(cepo, rows, two, 3, "s", everyone)
    assert split.keys() == whole.keys()


def test_the_level_is_of_the_completions_tokens() -> None:
    logps = {4: {"plus": torch.tensor([0.1, -0.3, 99.0]), "minus": torch.tensor([0.0, 0.0, 0.0])}}
    level = null_level(rule("cepo"), {4: row(4, 1)}, logps, everyone)
    assert level is not None
    assert level.median == pytest.approx(0.1)
    assert level.p90 == pytest.approx(0.28)
    assert null_level(rule("cepo"), {}, {}, everyone) is None


def test_one_reference_is_held_against_none() -> None:
    """RLSD reads r+ alone: its floor is that of r+ against the student's own prompt."""
    logps = {4: {"plus": torch.tensor([0.1, -0.3]), "student": torch.tensor([0.05, 0.0])}}
    level = null_level(rule("rlsd"), {4: row(4, 1)}, logps, everyone)
    assert level is not None
    assert level.median == pytest.approx(0.05)


def test_the_level_is_over_all_processes_and_of_finite_numbers() -> None:
    logps = {4: {"plus": torch.tensor([0.1, torch.nan]), "minus": torch.zeros(2)}}
    level = null_level(rule("cepo"), {4: row(4, 1)}, logps, lambda own: [*own, 0.3, 0.5])
    assert level is not None
    assert level.median == pytest.approx(0.3)


@pytest.mark.parametrize(("setting", "expected"), [("off", 0.0), ("auto", 0.07), ("0.2", 0.2)])
def test_the_dead_zone_setting(setting: str, expected: float) -> None:
    assert CreditSettings(evidence_dead_zone=setting).dead_zone(measured=0.07) == expected


@pytest.mark.parametrize("setting", ["on", "-1", "nan", "inf"])
def test_a_wrong_dead_zone_is_named(setting: str) -> None:
    with pytest.raises(ValueError, match=f"'{setting}'"):
        CreditSettings(evidence_dead_zone=setting)


@pytest.mark.parametrize("name", ["cepo", "rlsd"])
def test_evidence_within_the_dead_zone_leaves_the_base_advantage(name: str) -> None:
    other = {"plus": torch.tensor([[0.05, 1.0, -0.5]]), "minus": torch.zeros(1, 3), "student": torch.zeros(1, 3)}
    logps = {prompt: other[prompt] for prompt in rule(name).prompts}
    assign = rule(name).assign
    assert assign is not None
    credit = assign(Inputs(name, torch.tensor([2.0]), torch.ones(1, 3), Knobs(0.5, 0.9, 0.1), logps))
    assert credit.advantage_BT[0, 0] == 2.0
    torch.testing.assert_close(credit.evidence_BT, torch.tensor([[0.0, 0.9, -0.4]]))


def test_the_trainer_measures_and_uses_it(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(evidence_dead_zone="auto", max_steps=2, learning_rate=1e-6)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "credit/null_p90" in entry]
    assert logged
    for entry in logged:
        assert 0 < entry["credit/null_median"] <= entry["credit/null_p90"]
        assert entry["credit/tokens_zero"] > 0.2
