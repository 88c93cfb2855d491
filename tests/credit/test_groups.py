"""Groups: what is right, what a group decides, which rows get credit, and siblings on other processes."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest

from cepo.answers import Grading, grader_timeouts, pool, verdict
from cepo.credit.groups import (
    LocalGroups,
    Verdicts,
    deviation,
    gather_groups,
    gets_credit,
    grade_rollouts,
    is_decided,
    is_open,
    pass_rate,
    problem_of,
    row_references,
)
from cepo.credit.references import ReferencePolicy, choose_references
from cepo.credit.rules import METHODS, Rule
from cepo.credit.step import Row, credited_rows
from cepo.errors import DataError
from cepo.glossary import Group, Rollout, Told


def group(*said: tuple[str | None, bool | None, float], gold: str | None = "7") -> Group:
    return Group(gold, tuple(Rollout(f"so {answer}", answer, correct, reward) for answer, correct, reward in said))


RIGHT, WRONG = ("7", True, 1.0), ("8", False, 0.0)
DECIDED = group(RIGHT, WRONG)


def rule(name: str, **more: Any) -> Rule:
    method = METHODS[name]
    assert isinstance(method, Rule)
    return replace(method, **more)


def test_rows_of_a_group_that_are_of_two_problems_are_named() -> None:
    first = Group("7", (), "s", {"hint": "h", "same": "x"})
    for other, unlike in (
        (replace(first, gold="8"), r"row 1 has an answer \('8', '7'\) other than"),
        (replace(first, columns={"same": "x", "hint": "k"}), "a column 'hint'"),
        (replace(first, columns={"same": "x"}), "a column 'hint'"),
        (replace(first, columns={**first.columns, "more": "m"}), "a column 'more'"),
        (replace(first, solution="t"), "a solution other than"),
    ):
        with pytest.raises(DataError, match=unlike):
            gather_groups([Rollout("", None, None, 0.0)] * 2, [first, other], 2, 0, list)


# --- grading ----------------------------------------------------------------------------------------------


def test_rollouts_are_graded_against_their_own_gold() -> None:
    texts = [r"so \boxed{7}", r"so \boxed{8}", "no answer", r"\boxed{7.0}"]
    rollouts = grade_rollouts(texts, ["7", "7", "7", None], [1.0, 0.0, 0.0, 0.5])
    assert [rollout.correct for rollout in rollouts] == [True, False, False, None]
    assert [rollout.answer for rollout in rollouts] == ["7", "8", None, "7.0"]
    assert [rollout.reward for rollout in rollouts] == [1.0, 0.0, 0.0, 0.5]
    assert [rollout.text for rollout in rollouts] == texts


def test_a_late_verdict_is_none_and_is_neither_told_nor_credited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the grader did not reach in time is neither right nor wrong."""

    def starved(worker: Any, question: bytes, timeout_s: float) -> bool:
        raise pool.Late

    monkeypatch.setattr(pool.Worker, "ask", starved)
    verdict._remembered.clear()
    gold = r"\sum_{k=1}^{10} k\cdot k"
    texts = [rf"\boxed{{{gold}}}", r"\boxed{\sum_{k=1}^{10} k^2}", r"\boxed{7}"]
    before = grader_timeouts()
    rollouts = grade_rollouts(texts, [gold] * 3, [1.0, 0.0, 0.0])
    assert [rollout.correct for rollout in rollouts] == [True, None, False]
    assert grader_timeouts() == before + 1
    found = Group(gold, tuple(rollouts))
    told = choose_references(found, ("plus", "minus"), ReferencePolicy(minus="own"), step=1, index=0)
    assert {text for one in told for text in one["minus"].texts} == {"7"}
    groups = LocalGroups({0: found}, {row: (0, row) for row in range(3)})
    assert [is_open(groups, row) for row in range(3)] == [False, True, False]
    given = [Row(row, 0, "", [], [], None, advantage) for row, advantage in enumerate([1.0, -0.5, -0.5])]
    for name, prompts in (("cepo", ("plus", "minus")), ("rlsd", ("plus",))):
        references = row_references(groups, prompts, ReferencePolicy(), 1)
        assert [row.index for row in credited_rows(rule(name), given, groups, references)] == [0, 2]


def test_no_row_is_open_where_nothing_is_graded() -> None:
    """Data without gold answers: what the data tell is told to every row."""
    ungraded = LocalGroups({0: group(("7", None, 1.0), ("8", None, 0.0), gold=None)}, {0: (0, 0), 1: (0, 1)})
    assert not is_open(ungraded, 0)


def test_a_run_s_grading_decides_verdicts_and_answers() -> None:
    texts = ["<answer>7</answer>", r"\boxed{7}", "<think><answer>7</answer></think> <answer>9</answer>"]
    rollouts = grade_rollouts(texts, ["7"] * 3, [0.0] * 3, grading=Grading("tags"))
    assert [(rollout.correct, rollout.answer) for rollout in rollouts] == [(True, "7"), (False, None), (False, "9")]


def test_a_reward_may_decide_what_is_right() -> None:
    """Whatever the gold answer says; a value at the bound is right."""
    texts = [r"\boxed{7}", r"\boxed{8}", r"\boxed{9}"]
    verdicts = Verdicts([0.4, 0.5, 0.9], below=0.5)
    assert [r.correct for r in grade_rollouts(texts, ["7", "7", None], [0.0] * 3, verdicts)] == [False, True, True]
    nothing = Verdicts([float("nan"), 1.0, 0.0], below=0.5)
    assert [r.correct for r in grade_rollouts(texts, ["7"] * 3, [0.0] * 3, nothing)] == [None, True, False]


def test_a_missing_text_is_not_silent() -> None:
    with pytest.raises(ValueError, match="zip"):
        grade_rollouts(["a", "b"], ["7"], [0.0, 0.0])


def test_what_the_data_say_of_a_problem() -> None:
    """As text; a column that is empty or not there says nothing, and only those that a prompt reads are taken."""
    row = {"answer": 7, "solution": None, "hint": "halve it", "card": None, "other": "x"}
    assert problem_of(row, "answer", "solution", ("hint", "card", "gone")) == Group("7", (), None, {"hint": "halve it"})
    assert problem_of({"answer": "7", "solution": "worked"}, "answer", "solution") == Group("7", (), "worked")
    assert problem_of({}, "answer", "solution") == Group(None, ())


# --- which rows get credit --------------------------------------------------------------------------------

TOLD = {"plus": Told(("7",), "gold"), "minus": Told(("8",), "group")}


@pytest.mark.parametrize(
    ("found", "decided"),
    [
        (group(RIGHT, WRONG), True),
        (group(RIGHT, RIGHT), False),
        (group(WRONG, WRONG), False),
        (group(RIGHT, ("x", None, 0.5)), False),
        (group(WRONG, ("x", None, 0.5)), False),
    ],
    ids=["both", "all right", "all wrong", "right and unknown", "wrong and unknown"],
)
def test_a_group_is_decided_by_right_and_wrong(found: Group, decided: bool) -> None:
    assert is_decided(found) == decided


@pytest.mark.parametrize(
    ("found", "references", "advantage", "expected"),
    [
        (DECIDED, TOLD, 0.5, True),
        (DECIDED, TOLD, -0.5, True),
        (DECIDED, TOLD, 0.0, False),
        (group(RIGHT, ("7", True, 0.5)), TOLD, 0.5, False),
        (group(("7", True, 1.0), ("8", False, 1.0)), TOLD, 1e-8, False),
        (DECIDED, TOLD | {"minus": Told((), "grpo")}, 0.5, False),
        (DECIDED, TOLD | {"minus": Told((), "none")}, 0.5, False),
        (DECIDED, TOLD | {"minus": Told((), "rlsd")}, 0.5, True),
    ],
    ids=["positive", "negative", "no advantage", "undecided", "equal rewards with a residue", "fallback grpo",
         "nothing to tell", "the student stands in"],
)  # fmt: skip
def test_rows_whose_credit_can_matter(found: Group, references: Any, advantage: float, expected: bool) -> None:
    assert gets_credit(rule("cepo"), found, references, advantage) == expected


def test_grpo_gives_no_credit() -> None:
    assert not gets_credit(rule("grpo"), DECIDED, {}, 0.5)


def test_a_rule_without_references_needs_no_verdict() -> None:
    """Scores from outside, say: they have something to say of a group that is all wrong, too."""
    undecided = group(WRONG, ("9", False, 0.5))
    assert gets_credit(rule("rlsd", prompts=("student",)), undecided, {}, 0.5)
    assert not gets_credit(rule("rlsd"), undecided, {"plus": TOLD["plus"]}, 0.5)


def test_a_rule_may_act_where_all_rewards_are_equal() -> None:
    equal = group(RIGHT, RIGHT)
    assert gets_credit(rule("cepo", acts_where_equal=True), equal, TOLD, 0.0)
    assert not gets_credit(rule("cepo", acts_where_equal=True), equal, TOLD | {"minus": Told((), "none")}, 0.0)
    assert not gets_credit(rule("grpo", acts_where_equal=True), equal, {}, 0.0)


# --- a group's numbers ------------------------------------------------------------------------------------


def test_pass_rate_counts_what_is_right() -> None:
    assert pass_rate(group(RIGHT, WRONG, WRONG, ("x", None, 1.0))) == 0.25
    assert pass_rate(group(RIGHT, RIGHT)) == 1.0


def test_deviation_is_what_divides_the_advantage() -> None:
    rewards = [1.0, 0.0, 0.0, 0.5]
    assert deviation(group(*[("x", False, reward) for reward in rewards])) == pytest.approx(statistics.stdev(rewards))
    assert deviation(group(RIGHT, RIGHT)) == 0.0
    assert deviation(group(RIGHT)) == 0.0


# --- processes --------------------------------------------------------------------------------------------


def split(processes: int, size: int = 3) -> list[LocalGroups]:
    """Two groups of three rollouts, gathered on so many processes of equally many rows."""
    rollouts = [Rollout(f"t{row}", str(row), bool(row % 2), float(row)) for row in range(6)]
    problems = [Group(f"gold{row // size}", (), f"solution{row // size}", {"hint": str(row // size)})
                for row in range(6)]  # fmt: skip
    each = 6 // processes
    own = [slice(process * each, (process + 1) * each) for process in range(processes)]

    def gather(local: list[Rollout]) -> list[Rollout]:
        assert local in [rollouts[here] for here in own]
        return rollouts

    return [gather_groups(rollouts[here], problems[here], size, process, gather) for process, here in enumerate(own)]


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_groups_are_whole_on_any_number_of_processes(processes: int) -> None:
    """Of three processes the second one's rows lie in both groups."""
    (whole,) = split(1)
    texts = {index: [rollout.text for rollout in found.rollouts] for index, found in whole.groups.items()}
    assert texts == {0: ["t0", "t1", "t2"], 1: ["t3", "t4", "t5"]}
    for process, local in enumerate(split(processes)):
        each = 6 // processes
        assert local.first_row == process * each
        assert len(local.places) == each
        for row in range(each):
            everywhere = process * each + row
            assert local.places[row] == whole.places[everywhere]
            assert local.rollout(row).text == f"t{everywhere}"
            found = local.groups[local.group_of(row)]
            assert found == whole.groups[everywhere // 3], "siblings of other processes and what the data say"
            assert (found.gold, found.solution, found.columns) == (
                f"gold{everywhere // 3}", f"solution{everywhere // 3}", {"hint": str(everywhere // 3)}
            )  # fmt: skip
            assert local.place_in_group(row) == everywhere % 3


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_references_are_the_same_on_any_number_of_processes(processes: int) -> None:
    policy = ReferencePolicy(minus="sampled", seed=4)
    expected = row_references(split(1)[0], ("plus", "minus"), policy, 5)
    assert any(told["minus"].texts for told in expected.values())
    each = 6 // processes
    for process, local in enumerate(split(processes)):
        own = row_references(local, ("plus", "minus"), policy, 5)
        assert own == {row: expected[process * each + row] for row in range(each)}


def test_references_are_drawn_by_the_groups_place_in_the_global_batch() -> None:
    (whole,) = split(1)
    policy = ReferencePolicy(minus="sampled", seed=4)
    second = choose_references(whole.groups[1], ("plus", "minus"), policy, step=5, index=1)
    found = row_references(whole, ("plus", "minus"), policy, 5)
    assert [found[row] for row in (3, 4, 5)] == list(second)
