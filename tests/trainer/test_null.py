"""The noise floor: irrelevant references, what their evidence is, and the dead zone that it sets."""

from __future__ import annotations

from random import Random

import pytest
import torch

from cepo.answers import same_answer
from cepo.credit.groups import LocalGroups
from cepo.credit.references import NEUTRAL, irrelevant_references
from cepo.credit.rules import METHODS, Knobs, TeacherLogps
from cepo.credit.settings import CreditSettings
from cepo.credit.step import RowContext
from cepo.glossary import Group, References, Rollout
from cepo.trainer.null import PLACE, null_contexts, null_level
from tests.trainer.conftest import MakeTrainer

GROUP = Group("12", tuple(Rollout("", answer, answer == "12", 0.0) for answer in ("12", "7", None)))


def test_irrelevant_references_are_two_and_strange_to_the_group() -> None:
    others = ["12", "12.0", "7", "30", "30.0", "41", "5"]
    for seed in range(20):
        first, second = irrelevant_references(GROUP, others, Random(seed))
        assert not same_answer(first, second)
        for told in ("12", "7"):
            assert not same_answer(first, told)
            assert not same_answer(second, told)
    assert irrelevant_references(GROUP, others, Random(3)) == irrelevant_references(GROUP, others, Random(3))


def test_neutral_words_stand_in() -> None:
    assert irrelevant_references(GROUP, ["12", "7", "30"], Random(0)) == NEUTRAL


def context(group: int) -> RowContext:
    return RowContext(group, "p", [1], [5, 6], None, References("12", ("7",), "gold", "group"))


def test_null_contexts_keep_all_but_the_references() -> None:
    groups = LocalGroups({0: GROUP, 1: Group("30", GROUP.rollouts), 2: Group("41", GROUP.rollouts)}, 0, 3)
    chosen = null_contexts({0: context(0), 1: context(0), 5: context(1)}, groups, 2, "s")
    assert len(chosen) == 2
    for place, null in chosen.items():
        assert null.completion_ids == [5, 6]
        assert {null.references.plus, *null.references.minus} <= {"30", "41", *NEUTRAL}
        assert place >= PLACE
    assert null_contexts({}, groups, 2, "s") == {}


def test_the_level_is_of_the_completions_tokens() -> None:
    scored = {(PLACE, "plus", 0): torch.tensor([0.1, -0.3, 99.0]), (PLACE, "minus", 0): torch.tensor([0.0, 0.0, 0.0])}
    level = null_level({PLACE: context(0)}, scored)
    assert level is not None
    assert level.median == pytest.approx(0.1)
    assert level.p90 == pytest.approx(0.28)
    assert null_level({}, {}) is None


@pytest.mark.parametrize(("setting", "expected"), [("off", 0.0), ("auto", 0.07), ("0.2", 0.2)])
def test_the_dead_zone_setting(setting: str, expected: float) -> None:
    assert CreditSettings(evidence_dead_zone=setting).dead_zone(measured=0.07) == expected


@pytest.mark.parametrize("setting", ["on", "-1", "nan", "inf"])
def test_a_wrong_dead_zone_is_named(setting: str) -> None:
    with pytest.raises(ValueError, match=f"'{setting}'"):
        CreditSettings(evidence_dead_zone=setting)


@pytest.mark.parametrize("name", ["cepo", "rlsd"])
def test_evidence_within_the_dead_zone_leaves_the_base_advantage(name: str) -> None:
    plus_BT = torch.tensor([[0.05, 1.0, -0.5]])
    logps = TeacherLogps(plus_BT, torch.zeros(1, 3), torch.zeros(1, 3))
    assign = METHODS[name].assign
    assert assign is not None
    credit = assign(torch.tensor([2.0]), logps, torch.ones(1, 3), Knobs(0.5, 0.9, 0.1))
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
