"""Which references a row gets, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.credit.references import MINUS_POLICIES, ReferencePolicy, choose_references
from cepo.glossary import Group, References, Rollout


def rollout(answer: str | None, correct: bool | None, reward: float | None = None) -> Rollout:
    reward = float(bool(correct)) if reward is None else reward
    return Rollout(text=f"so \\boxed{{{answer}}}", answer=answer, correct=correct, reward=reward)


MIXED = Group(
    gold="70",
    rollouts=(
        rollout("70", True),
        rollout("60", False),
        rollout("60", False),
        rollout("50", False, -1.0),
        rollout(None, False, -2.0),
    ),
)


ADMISSIBLE = [minus for minus in MINUS_POLICIES if minus != "none"]


def choose(group: Group = MIXED, step: int = 1, index: int = 0, **fields: Any) -> tuple[References, ...]:
    return choose_references(group, ReferencePolicy(**fields), step=step, index=index)


@pytest.mark.parametrize("minus", ADMISSIBLE)
def test_r_minus_is_an_admissible_wrong_answer(minus: Any) -> None:
    for references in choose(minus=minus):
        assert references.plus == "70"
        assert references.minus_source == "group"
        assert set(references.minus) <= {"60", "50"}


def test_each_policy_picks_what_it_says() -> None:
    assert choose(minus="worst")[0].minus == ("50",)
    assert choose(minus="common")[0].minus == ("60",)
    assert choose(minus="marginal", count=2)[0].minus == ("60", "50")
    assert choose(minus="marginal", count=1)[0].minus == ("60",)
    own = choose(minus="own")
    assert [own[1].minus, own[3].minus] == [("60",), ("50",)]
    assert own[1].minus_is_own


def test_no_row_is_told_its_own_answer_unless_allowed() -> None:
    for seed in range(20):
        chosen = choose(minus="sampled", seed=seed)
        assert chosen[1].minus == chosen[2].minus == ("50",), "60 is their own answer"
        assert chosen[3].minus == ("60",)
    allowed = [choose(minus="worst", allow_self=True)[3] for _ in range(3)]
    assert all(references.minus == ("50",) and references.minus_is_own for references in allowed)


def test_no_answer_is_no_reference() -> None:
    group = replace(MIXED, rollouts=(rollout("70", True), rollout(None, False)))
    for fallback in ("rlsd", "grpo"):
        chosen = choose(group, minus="worst", fallback=fallback)
        assert [references.minus for references in chosen] == [(), ()]
        assert all(references.minus_source == fallback for references in chosen)


def test_the_released_fault_for_those_who_ask_for_it() -> None:
    assert [references.minus for references in choose(minus="none")] == [("None",)] * len(MIXED.rollouts)
    right = replace(MIXED, rollouts=(rollout("70", True), rollout("70", True)))
    assert [references.minus_source for references in choose(right, minus="none")] == ["rlsd", "rlsd"]


def test_wrong_is_the_grader_s_word_and_not_the_reward_s() -> None:
    group = replace(MIXED, rollouts=(rollout("70", True, -5.0), rollout("60", False, 5.0)))
    assert choose(group, minus="worst")[0].minus == ("60",)


@pytest.mark.parametrize("minus", ADMISSIBLE)
def test_a_wrong_rollout_with_the_right_answer_is_no_r_minus(minus: Any) -> None:
    """A named reward may find a solution wrong that ends in r+ itself: told as r- it would say nothing."""
    judged = Group("1/2", (rollout("1/2", True), rollout("0.5", False), rollout("3", False)))
    chosen = choose(judged, minus=minus)
    assert [references.minus for references in chosen[:2]] == [("3",), ("3",)]
    alone = Group("1/2", (rollout("1/2", True), rollout("0.5", False)))
    assert all(references.minus_source == "rlsd" for references in choose(alone, minus=minus, allow_self=True))
    assert choose(alone, minus=minus, form="rationale")[0].plus is None
    whole = replace(alone, solution="worked")
    assert choose(whole, minus=minus, form="rationale")[0].minus == (alone.rollouts[1].text,)


def test_equivalent_answers_are_one() -> None:
    halves = replace(MIXED, rollouts=(rollout("70", True), rollout("1/2", False), rollout("0.5", False)))
    assert choose(halves, minus="marginal")[0].minus == ("1/2",)
    assert choose(halves, minus="sampled")[1].minus_source == "rlsd", "0.5 is the row's own 1/2"


def test_r_plus_without_gold_is_a_verified_sibling_never_oneself() -> None:
    group = Group(gold=None, rollouts=(rollout("70", True), rollout("60", False), rollout("60", False)))
    chosen = choose(group)
    assert (chosen[1].plus, chosen[1].plus_source) == ("70", "sibling")
    assert (chosen[0].plus, chosen[0].plus_source, chosen[0].minus) == (None, "none", ())


def test_rationales_are_whole_texts_of_others() -> None:
    chosen = choose(form="rationale", minus="sampled")
    assert chosen[1].plus == MIXED.rollouts[0].text
    assert chosen[0].plus is None, "the only right rollout is the row itself"
    assert choose(replace(MIXED, solution="worked"), form="rationale")[0].plus == "worked"
    assert chosen[1].minus[0].startswith("so ")


def test_methods_without_r_minus_get_none() -> None:
    chosen = choose_references(MIXED, ReferencePolicy(), step=1, index=0, contrastive=False)
    assert all(references.minus == () and references.minus_source == "unused" for references in chosen)


def test_draws_depend_on_step_row_and_seed_only() -> None:
    group = Group("1", tuple(rollout(str(answer), answer == 1) for answer in range(1, 12)))
    assert choose(group, step=3) == choose(group, step=3)
    assert choose(group, step=3) != choose(group, step=4)
    assert choose(group, index=0) != choose(group, index=1)
    assert choose(group, seed=0) != choose(group, seed=1)


@given(
    answers=st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=6),
    minus=st.sampled_from(MINUS_POLICIES),
    allow_self=st.booleans(),
)
def test_never_the_gold_answer_and_never_silently_nothing(answers: Any, minus: Any, allow_self: bool) -> None:
    group = Group("1", tuple(rollout(answer, answer == "1") for answer in answers))
    for row, references in zip(answers, choose(group, minus=minus, allow_self=allow_self), strict=True):
        assert "1" not in references.minus
        assert (references.minus == ()) == (references.minus_source != "group")
        if not allow_self and minus != "own":
            assert row not in references.minus


@pytest.mark.parametrize("fields", [{"minus": "best"}, {"form": "hint"}, {"fallback": "opsd"}, {"count": 0}])
def test_bad_policies_are_named(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(fields.values())))):
        ReferencePolicy(**fields)
