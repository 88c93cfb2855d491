"""What each source tells at its edges: answers gone astray, blank texts, rollouts without a verdict."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cepo.credit.choice import MAX_REFERENCE_CHARS, Choice, ReferencePolicy
from cepo.credit.sources import bare, feedback, minus, peer, plus, rival, solution
from cepo.glossary import Group, Rollout, Told

LONGEST, TOO_LONG = "8" * MAX_REFERENCE_CHARS, "9" * (MAX_REFERENCE_CHARS + 1)


def wrong(answer: str | None, text: str = "so", reward: float = 0.0, said: str | None = None) -> Rollout:
    return Rollout(text, answer, False, reward, said)


def right(answer: str | None = "1", text: str = "so") -> Rollout:
    return Rollout(text, answer, True, 1.0)


def open_(answer: str) -> Rollout:
    """Without a verdict: the grader was late."""
    return Rollout("so", answer, None, 0.0)


def choice(*rollouts: Rollout, row: int = 0, gold: str | None = None, **policy: Any) -> Choice:
    return Choice(Group(gold, rollouts), row, ReferencePolicy(**policy), Random(0))


# --- answers and texts that are none --------------------------------------------------------------------------


def test_an_answer_gone_astray_is_no_reference() -> None:
    assert minus(choice(right(), wrong(LONGEST), minus="sampled")).texts == (LONGEST,)
    assert minus(choice(right(), wrong(TOO_LONG), minus="sampled")).texts == ()
    assert plus(choice(wrong("2"), right(LONGEST))).texts == (LONGEST,)
    assert plus(choice(wrong("2"), right(TOO_LONG))).source == "none"


def test_a_right_sibling_that_cannot_be_told_is_passed_over() -> None:
    told = plus(choice(wrong("2"), right(TOO_LONG), right(None), right("1")))
    assert told == Told(("1",), "sibling", "answer")


def test_a_wrong_row_whose_own_answer_cannot_be_told_is_told_another() -> None:
    for own in (None, TOO_LONG):
        told = minus(choice(wrong(own), wrong("3"), right(), minus="own"))
        assert told == Told(("3",), "group", "answer", is_own=False)


def test_whole_solutions_are_told_without_the_space_around_them() -> None:
    blank, spaced = " \n ", "\n so it is 3 \n"
    told = minus(choice(right(), wrong("2", blank), wrong("3", spaced), minus="common", form="rationale"))
    assert told == Told(("so it is 3",), "group", "rationale")
    assert plus(choice(wrong("2"), right("1", blank), right("1", spaced), form="rationale")).texts == ("so it is 3",)
    assert peer(choice(wrong("2"), right("1", blank), right("1", spaced))).texts == ("so it is 3",)


def test_a_peer_is_right_and_another() -> None:
    assert peer(choice(right("1", "mine"), wrong("2", "no"), open_("1"))).source == "none"
    assert peer(choice(right("1", "mine"), right("1", "first"), right("1", "second"))).texts == ("first",)


# --- verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["worst", "sampled", "common", "own", "marginal", "word_none"])
@pytest.mark.parametrize("source", [minus, rival])
def test_without_a_verdict_a_rollout_is_neither_wrong_nor_right(policy: str, source: Any) -> None:
    told = source(choice(right(), open_("2"), open_("3"), minus=policy, allow_self=True))
    assert (told.texts, told.source) == ((), "rlsd")
    assert plus(choice(wrong("2"), open_("1"))).source == "none"


def test_a_word_in_place_of_an_answer_is_of_another_row_where_the_rival_is() -> None:
    alone = choice(wrong("2"), right(), minus="word_none")
    assert minus(alone).texts == ("None",)
    assert rival(alone).texts == ()
    whole = choice(wrong("2"), right(), minus="word_none", form="rationale")
    assert minus(whole) == Told(("None",), "group", "rationale")


# --- which of several ---------------------------------------------------------------------------------------------


def test_the_worst_is_drawn_among_those_of_the_lowest_reward() -> None:
    rollouts = (right(), wrong("2", reward=0.5), wrong("3", reward=-1.0), wrong("4", reward=-1.0))
    drawn = {minus(Choice(Group("1", rollouts), 0, ReferencePolicy(minus="worst"), Random(s))).texts for s in range(20)}
    assert drawn == {("3",), ("4",)}


def test_what_is_told_as_its_own_is_marked_so() -> None:
    rollouts = (wrong("2"), wrong("2"), wrong("3"))
    allowed = choice(*rollouts, minus="marginal", allow_self=True)
    assert minus(allowed) == Told(("2", "3"), "group", "answer", is_own=True), "one of them is"
    assert not minus(choice(*rollouts, minus="marginal")).is_own
    assert rival(choice(*rollouts, minus="common")) == Told(("2",), "group", "answer", is_own=True), "a sibling's"


def test_distinct_answers_come_in_order_of_their_number_then_of_their_rows() -> None:
    rollouts = (right(), wrong("4"), wrong("3"), wrong("2"), wrong("3.0"), wrong("5"))
    assert minus(choice(*rollouts, minus="marginal", count=3)).texts == ("3", "4", "2")


# --- the others ---------------------------------------------------------------------------------------------------


def test_solutions_feedback_and_nothing() -> None:
    assert solution(choice(right())).source == "none"
    assert bare(choice(right())) == Told(("",), "bare")
    said = wrong("2", said="twelve chars")
    assert feedback(choice(said, feedback_chars=12)) == Told(("twelve chars",), "feedback", "feedback")
    assert feedback(choice(said, feedback_chars=11)).texts == ("twelve char ...",)
    assert feedback(choice(said, feedback_chars=1)).texts == ("t ...",)
    with_peer = feedback(choice(said, right(text="so 1")))
    assert with_peer == Told(("twelve chars\nThis solution is right:\nso 1",), "feedback", "feedback")
    assert feedback(choice(wrong("2"), right(text="so 1"))) == Told(("so 1",), "sibling", "rationale")


def test_where_a_text_came_from_is_said() -> None:
    assert plus(choice(wrong("2"), gold="1")) == Told(("1",), "gold", "answer")
    worked = Choice(Group("1", (wrong("2"),), "worked"), 0, ReferencePolicy(form="rationale"), Random(0))
    assert plus(worked) == Told(("worked",), "gold", "rationale")
    assert solution(worked) == Told(("worked",), "gold", "rationale")
    assert solution(choice(wrong("2"), gold="1")) == Told(("1",), "gold", "answer")


@pytest.mark.parametrize("form", ["answer", "rationale"])
def test_where_there_is_none_the_fallback_is_said(form: str) -> None:
    for source in (minus, rival):
        assert source(choice(right(), form=form, fallback="grpo")) == Told((), "grpo", form)
