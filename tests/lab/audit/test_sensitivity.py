"""Groups that differ in one thing only, and the null contrasts."""

import pytest

from cepo.glossary import Rollout
from cepo.lab.audit.null import null_pairs
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.sensitivity import DIFFERENT, GROUP_SIZES, WRONG_SIBLINGS, bins_of, levels_of
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Asking


def target(answer, gold="1", problem=0):
    rollout = Rollout(f"text {answer}", answer, answer == gold, float(answer == gold))
    return Target(problem, (1, 2), "text", ((0, 1), (1, 4)), rollout, None, truncated=False)


def group(answers):
    return [target(answer) for answer in answers]


ROLLOUTS = group(["1", "2", "1", "3"] + ["1"] * 8 + ["2"] * 8 + ["3"] * 6 + ["4"] * 4 + ["5"] * 2)


def by_factor(levels):
    found = {}
    for level in levels:
        found.setdefault(level.factor, {})[level.value] = level.groups
    return found


def test_group_sizes_are_nested_around_the_same_rollouts():
    sizes = by_factor(levels_of(ROLLOUTS, audited=4))["group size"]
    assert list(sizes) == [str(size) for size in GROUP_SIZES]
    for size, groups in sizes.items():
        assert [one for one, _ in groups] == ROLLOUTS[:4]
        for one, members in groups:
            assert one in members
            assert len(members) == int(size)
    for one, members in sizes["4"]:
        assert set(members) <= set(dict(sizes["8"])[one]) <= set(dict(sizes["32"])[one])


def test_wrong_siblings_have_so_many_answers():
    factors = by_factor(levels_of(ROLLOUTS, audited=4))
    levels = factors["different answers of 4 wrong siblings"]
    assert list(levels) == [str(count) for count in DIFFERENT]
    for count, groups in levels.items():
        assert [one for one, _ in groups] == ROLLOUTS[:4]
        for one, (first, right, *wrong) in groups:
            assert first is one
            assert right.right
            assert len(wrong) == WRONG_SIBLINGS
            assert len({member.rollout.answer for member in wrong}) == int(count)
            assert not set(wrong) & set(ROLLOUTS[:4])
    assert {member.rollout.answer for member in levels["1"][0][1][2:]} == {"2"}  # the commonest


def test_levels_need_enough_rollouts():
    assert levels_of(ROLLOUTS[:31], audited=4) == [
        level for level in levels_of(ROLLOUTS[:31], audited=4) if level.factor != "group size"
    ]
    alike = group(["1"] * 10 + ["2"] * 22)
    assert {level.factor for level in levels_of(alike, audited=4)} == {"group size"}


@pytest.mark.parametrize(
    ("answers", "bins"),
    [
        (["1", "1", "1", "2"], ("1: under 1/3", "1", "1/2 or more")),
        (["1", "1", "2", "3"], ("2: to 2/3", "2-3", "1/2 or more")),
        (["1", "2", "3", "4", "5", None], ("3: over 2/3", "4 or more", "under 1/2")),
    ],
)
def test_bins(answers, bins):
    assert tuple(bins_of(group(answers)).values()) == bins


def problem(answer, solution=None):
    return AuditProblem({"id": answer, "answer": answer, "solution": solution, "prompt": []})


def test_null_references_have_nothing_to_do_with_the_problem():
    problems = [problem(answer, f"solution {answer}") for answer in ("1", "2", "33", "44", "5.0", "66", "7")]
    targets = [target("5", problem=0)]
    askings = [ASKING[0], Asking(form="rationale")]
    pairs = null_pairs(targets, problems, [["5", "2"]] + [[]] * 6, askings, len, seed=0)
    told = {
        reference
        for p in pairs
        if p.kind.startswith("others") and p.asking == ASKING[0]
        for reference in (p.first, p.second)
    }
    assert told - {None} <= {"33", "44", "66", "7"}  # not the gold answer 1, not 2, and 5.0 is the 5 that was given
    kinds = {(p.asking.form, p.kind) for p in pairs}
    for length in ("equal length", "unequal length", "against none"):
        assert ("answer", f"words, {length}") in kinds
        assert ("answer", f"others, {length}") in kinds
    assert not any(form == "rationale" and kind.startswith("words") for form, kind in kinds)
    for pair in pairs:
        if pair.second is not None:
            assert (len(pair.first) == len(pair.second)) == (pair.kind.endswith(", equal length"))
            assert pair.first != pair.second
        assert len(pair.asked()) == 2


def test_null_pairs_are_seeded_and_need_other_answers():
    problems = [problem(answer) for answer in ("1", "22", "33", "4")]
    arguments = ([target("5")], problems, [["5"]] * 4, [ASKING[0]], len)
    assert null_pairs(*arguments, seed=1) == null_pairs(*arguments, seed=1)
    alone = null_pairs([target("5")], problems[:1], [["5"]], [ASKING[0]], len, seed=0)
    assert {pair.kind.split(",")[0] for pair in alone} == {"words"}
