"""The other grader says what TRL's own accuracy reward says, and keeps to the same bounds."""

from __future__ import annotations

import pytest

from cepo.answers import grade, grade_many, judge

COMPLETIONS = [
    (r"so \boxed{\frac{1}{3}}", r"\frac{1}{3}"),
    (r"so \boxed{\frac{1}{2}}", r"\frac{1}{3}"),
    (r"so \boxed{5}", "5"),
    (r"so \boxed{5} cm", "$5$"),
    ("so $5$", "$5$"),
    ("so 5", "5"),
    (r"\boxed{64_5}", "$64$"),
    (r"\boxed{R}", "$r$"),
    (r"\boxed{4} and \boxed{5}", "5"),
    (r"\boxed{(1,2)}", "$(1,2)$"),
    (r"\boxed{x=2}", "$2$"),
    (r"\boxed{}", "$2$"),
    (r"\boxed{B}", "B"),
    ("nothing", "gold without mathematics"),
    (r"\boxed{2}", ""),
]


def test_it_agrees_with_trl() -> None:
    pytest.importorskip("trl", reason="TRL is part of the training floor")
    from trl.rewards import accuracy_reward

    theirs = accuracy_reward(
        [[{"role": "assistant", "content": text}] for text, _ in COMPLETIONS], [gold for _, gold in COMPLETIONS]
    )
    ours = grade_many([text for text, _ in COMPLETIONS], [gold for _, gold in COMPLETIONS], grader="math_verify")
    assert [one.same for one in ours] == [None if reward is None else bool(reward) for reward in theirs]
    assert {one.same for one in ours} == {True, False, None}


def test_a_gold_answer_that_it_cannot_parse_is_no_verdict() -> None:
    assert judge(r"\boxed{2}", "", grader="math_verify").same is None
    assert grade(r"\boxed{2}", "", grader="math_verify") is False


def test_a_bomb_is_late_and_counted() -> None:
    verdict = judge(r"\boxed{10^{10^{10}}}", r"$\sqrt{5}$", grader="math_verify", timeout_s=0.3)
    assert (verdict.same, verdict.rule) == (False, "late")


def test_an_unknown_grader_is_refused() -> None:
    with pytest.raises(ValueError, match="cepo, math_verify"):
        judge("5", "5", grader="sympy")  # type: ignore[arg-type]
