"""Which references a row gets, case by case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cepo.answers import same_answer
from cepo.credit.references import (
    MINUS_POLICIES,
    NEUTRAL,
    SOURCES,
    Choice,
    ReferencePolicy,
    ReferenceSource,
    choose_references,
    column_source,
    columns_of,
    irrelevant_references,
    register_source,
    resolve_source,
    teacher_of,
    told_by_data,
)
from cepo.errors import RuleError
from cepo.glossary import Group, Rollout, Told


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


ADMISSIBLE = [minus for minus in MINUS_POLICIES if minus != "word_none"]


@dataclass(frozen=True)
class Chosen:
    """A row's r+ and r- as the tests below read them."""

    told_plus: Told
    told_minus: Told

    @property
    def plus(self) -> str | None:
        return self.told_plus.texts[0] if self.told_plus.texts else None

    @property
    def plus_source(self) -> str:
        return self.told_plus.source

    @property
    def minus(self) -> tuple[str, ...]:
        return self.told_minus.texts

    @property
    def minus_source(self) -> str:
        return self.told_minus.source

    @property
    def minus_is_own(self) -> bool:
        return self.told_minus.is_own


def choose(group: Group = MIXED, step: int = 1, index: int = 0, **fields: Any) -> tuple[Chosen, ...]:
    told = choose_references(group, ("plus", "minus"), ReferencePolicy(**fields), step=step, index=index)
    return tuple(Chosen(one["plus"], one["minus"]) for one in told)


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
    assert [references.minus for references in choose(minus="word_none")] == [("None",)] * len(MIXED.rollouts)
    right = replace(MIXED, rollouts=(rollout("70", True), rollout("70", True)))
    assert [references.minus_source for references in choose(right, minus="word_none")] == ["rlsd", "rlsd"]


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


def test_only_what_is_asked_for_is_chosen() -> None:
    for told in choose_references(MIXED, ("plus",), ReferencePolicy(), step=1, index=0):
        assert set(told) == {"plus"}
    assert choose_references(MIXED, (), ReferencePolicy(), step=1, index=0) == ({},) * 5


def test_a_row_that_cannot_be_told_one_thing_is_told_nothing() -> None:
    group = Group(None, (rollout("70", True), rollout("60", False)))
    told = choose_references(group, ("plus", "minus"), ReferencePolicy(), step=1, index=0)
    assert [one.source for one in told[0].values()] == ["none", "none"]
    assert not any(one.gives_credit for one in told[0].values())
    assert [one.source for one in told[1].values()] == ["sibling", "group"]


def test_distillations_are_told_solutions_and_peers() -> None:
    def told(group: Group, prompt: str) -> list[Told]:
        return [one[prompt] for one in choose_references(group, (prompt,), ReferencePolicy(), step=1, index=0)]

    assert told(MIXED, "solution")[0] == Told(("70",), "gold", "answer")
    assert told(replace(MIXED, solution="worked"), "solution")[0] == Told(("worked",), "gold", "rationale")
    peers = told(MIXED, "peer")
    assert peers[0].texts == (), "the only right rollout is the row itself"
    assert peers[1] == Told((MIXED.rollouts[0].text,), "sibling", "rationale")


def test_a_data_column_is_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.credit.references.SOURCES", dict(SOURCES))
    skill = column_source("skill", "skill_card", "rationale")
    register_source(skill)
    assert columns_of(("skill", "plus", "skill", "minus")) == ("skill_card",)
    assert (skill.columns, skill.row_free) == (("skill_card",), True), "the data do not depend on the row"
    group = replace(MIXED, columns={"skill_card": "angles add up"})
    told = choose_references(group, ("skill", "minus"), ReferencePolicy(), step=1, index=0)
    assert told[0]["skill"] == Told(("angles add up",), "skill_card", "rationale")
    short = column_source("hint", "skill_card").choose(Choice(group, 0, ReferencePolicy(), Random(0)))
    assert short == Told(("angles add up",), "skill_card", "answer")
    before = told_by_data("skill", replace(group, rollouts=()), ReferencePolicy())
    assert before == told[0]["skill"], "known before there are rollouts"
    bare = choose_references(MIXED, ("skill", "minus"), ReferencePolicy(), step=1, index=0)
    assert all(one.source == "none" for row in bare for one in row.values())


def test_what_is_told_before_there_are_rollouts_is_drawn_alike(own_registrations: None) -> None:
    register_source(ReferenceSource("die", lambda choice: Told((str(choice.rng.random()),), "die")))
    first, again = (told_by_data("die", Group("7", ()), ReferencePolicy()) for _ in range(2))
    assert first == again


def test_prompts_of_ours_are_not_replaced() -> None:
    for name in ("plus", "student"):
        with pytest.raises(RuleError, match=name):
            register_source(ReferenceSource(name, lambda choice: Told((), "none")))
    with pytest.raises(RuleError, match="'skill@large': what follows @ is a teacher"):
        register_source(ReferenceSource("skill@large", lambda choice: Told((), "none")))


def test_what_the_data_tell_before_there_are_rollouts() -> None:
    policy = ReferencePolicy()
    assert told_by_data("plus", Group("70", ()), policy).texts == ("70",)
    assert told_by_data("plus", Group(None, ()), policy).texts == ()
    assert told_by_data("minus", Group("70", ()), policy).texts == ()


def test_the_old_word_for_the_released_fault_answers_with_the_new_one() -> None:
    with pytest.raises(ValueError, match="'none' is now called 'word_none'"):
        ReferencePolicy(minus="none")


def test_draws_depend_on_step_row_and_seed_only() -> None:
    group = Group("1", tuple(rollout(str(answer), answer == 1) for answer in range(1, 12)))
    assert choose(group, step=3) == choose(group, step=3)
    assert choose(group, step=3) != choose(group, step=4)
    assert choose(group, index=0) != choose(group, index=1)
    assert choose(group, seed=0) != choose(group, seed=1)


def test_r_minus_is_drawn_as_in_the_first_release() -> None:
    """Its runs are repeated to the bit: by seed, step, group and row, without the prompt's name."""
    group = Group("1", tuple(rollout(str(answer), answer == 1) for answer in range(1, 12)))
    wrong = [str(answer) for answer in range(2, 12)]
    for row, told in enumerate(choose(group, minus="sampled", seed=5, step=3, index=7)):
        others = [answer for answer in wrong if answer != str(row + 1)]
        assert told.minus == (Random(f"5/3/7/{row}").choice(others),)


def test_a_prompt_draws_alike_whoever_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.credit.references.SOURCES", dict(SOURCES))
    assert resolve_source("rival@large")
    assert resolve_source("minus@large")
    assert [teacher_of(prompt) for prompt in ("minus@large", "minus")] == ["large", None]
    assert not resolve_source("nobody@large")
    group = Group("1", tuple(rollout(str(answer), answer == 1) for answer in range(1, 12)))
    policy = ReferencePolicy(minus="sampled")
    prompts = ("rival", "rival@large", "minus", "minus@large")
    chosen = choose_references(group, prompts, policy, step=1, index=0)
    for name in ("rival", "minus"):
        assert all(told[name] == told[f"{name}@large"] for told in chosen)
    assert any(told["rival"] != told["minus"] for told in chosen), "each prompt has draws of its own"


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


# --- a null contrast ---------------------------------------------------------------------------------------

STRANGE = Group("12", tuple(Rollout("", answer, answer == "12", 0.0) for answer in ("12", "7", None)))


def test_irrelevant_references_are_two_and_strange_to_the_group() -> None:
    others = ["12", "12.0", "7", "30", "30.0", "41", "5"]
    for seed in range(20):
        first, second = irrelevant_references(STRANGE, others, Random(seed))
        assert not same_answer(first, second)
        for told in ("12", "7"):
            assert not same_answer(first, told)
            assert not same_answer(second, told)
    assert irrelevant_references(STRANGE, others, Random(3)) == irrelevant_references(STRANGE, others, Random(3))


def test_neutral_words_stand_in() -> None:
    assert irrelevant_references(STRANGE, ["12", "7", "30"], Random(0)) == NEUTRAL
