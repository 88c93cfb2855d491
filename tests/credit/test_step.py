"""A step of credit from references to advantages, against a double loop, and what rules are handed on the way."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cepo.credit.groups import LocalGroups
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import References
from cepo.credit.rules import METHODS, Credit, Inputs, Knobs, Rule, credit_from
from cepo.credit.step import (
    Asking,
    Row,
    ScoreRequest,
    StepCredit,
    assign_credit,
    credited_rows,
    logps_by_prompt,
    plan_scoring,
    student_sequence,
)
from cepo.errors import RuleError
from cepo.glossary import Group, Rollout, Told
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests import naive

WIDTH = 4


TOKENIZER: Any = load_processor(str(EMBEDDED)).tokenizer  # pyright: ignore[reportAttributeAccessIssue]


def asking(template: str | None = " ({reference})") -> Asking:
    return Asking(TeacherPrompts(TOKENIZER, str, template=template))


def read(request: ScoreRequest) -> str:
    return TOKENIZER.decode(request.sequence.prompt_ids)


def rule(name: str, **more: Any) -> Rule:
    method = METHODS[name]
    assert isinstance(method, Rule)
    return replace(method, **more)


def row(index: int, group: int = 4, advantage: float = 1.0, tokens: int = WIDTH, **more: Any) -> Row:
    prompt = f"What is x{group}?"
    ids = TOKENIZER(prompt)["input_ids"]
    return Row(index, group, prompt, ids, list(range(21, 21 + tokens)), None, advantage, **more)


PLUS = Told(("7",), "gold")
MINUS = Told(("8",), "group")
BOTH: References = {"plus": PLUS, "minus": MINUS}

GROUPS = LocalGroups(
    {
        4: Group("7", (Rollout("", "7", True, 1.0), Rollout("", "8", False, 0.25), Rollout("", None, False, 0.0))),
        5: Group("7", (Rollout("", "7", True, 1.0), Rollout("", "7", True, 1.0), Rollout("", "x", None, 1.0))),
    },
    {index: (4 + index // 3, index % 3) for index in range(6)},
    first_row=12,
)


def step(method: Rule, **more: Any) -> StepCredit:
    return StepCredit(3, method, Knobs(0.5, 0.5), GROUPS, {}, **more)


# --- what is scored ---------------------------------------------------------------------------------------


def planned(
    method: Rule, rows: list[Row], references: dict[int, References], **more: Any
) -> list[tuple[int, str, int]]:
    return [(r.row, r.prompt, r.k) for r in plan_scoring(rows, references, method, asking(), **more)]


def test_each_rule_scores_what_it_declares_and_no_more() -> None:
    rows, told = [row(0), row(1)], {0: BOTH, 1: BOTH}
    assert planned(rule("cepo"), rows, told) == [(0, "plus", 0), (0, "minus", 0), (1, "plus", 0), (1, "minus", 0)]
    plus_alone: dict[int, References] = {0: {"plus": PLUS}}
    assert planned(rule("rlsd"), rows[:1], plus_alone) == [(0, "plus", 0), (0, "student", 0)]
    nothing: dict[int, References] = {0: {}}
    assert planned(rule("rlsd", prompts=("student",)), rows[:1], nothing) == [(0, "student", 0)]
    assert planned(rule("grpo"), rows[:1], nothing) == []


def test_a_bare_prompt_is_the_students_wherever_a_reference_would_stand() -> None:
    """Also where none could: the last turn is not the user's."""
    closed = replace(row(0), prompt=[{"role": "assistant", "content": "so"}])
    (request,) = plan_scoring([closed], {0: {"bare": Told(("",), "bare")}}, rule("cepo", prompts=("bare",)), asking())
    assert list(request.sequence.prompt_ids) == list(closed.prompt_ids)


def test_several_references_are_scored_each() -> None:
    told: dict[int, References] = {0: {"plus": PLUS, "minus": Told(("8", "9"), "group")}}
    assert planned(rule("cepo"), [row(0)], told) == [(0, "plus", 0), (0, "minus", 0), (0, "minus", 1)]


def test_the_student_is_scored_where_it_stands_in_and_where_it_is_recorded() -> None:
    told: dict[int, References] = {0: {"plus": PLUS, "minus": Told((), "rlsd")}, 1: BOTH, 2: BOTH}
    found = planned(rule("cepo"), [row(0), row(1), row(2)], told, with_student=[2])
    assert [request[0] for request in found if request[1] == "student"] == [0, 2]
    assert (0, "minus", 0) not in found


def test_a_teachers_prompt_has_the_reference_and_the_completion_is_the_students() -> None:
    told: dict[int, References] = {0: {"plus": Told(("7",), "gold"), "minus": Told(("ab",), "group", "rationale")}}
    plus, minus, student = plan_scoring([row(0)], told, rule("cepo"), asking(), with_student=[0])
    assert [read(request) for request in (plus, minus, student)] == [
        "What is x4? (7)", "What is x4? (ab)", "What is x4?"
    ]  # fmt: skip
    for request in (plus, minus, student):
        assert request.sequence.completion_ids == [21, 22, 23, 24]
    assert student.sequence == student_sequence(row(0))


def test_the_words_around_a_reference_are_those_of_its_form() -> None:
    told: dict[int, References] = {0: {"plus": PLUS, "minus": Told(("8 + 1",), "group", "rationale")}}
    plus, minus = plan_scoring([row(0)], told, rule("cepo"), asking(None))
    assert "The answer to this problem is 7." in read(plus)
    assert "Here is a solution to this problem:\n8 + 1\n" in read(minus)


# --- log-probs of each prompt -----------------------------------------------------------------------------


def random_logps(requests: Any, seed: int) -> Tensor:
    return -3 * torch.rand(len(requests), WIDTH, generator=torch.Generator().manual_seed(seed))


def test_log_probs_go_to_their_row_and_prompt() -> None:
    told: dict[int, References] = {
        3: {"plus": PLUS, "minus": Told(("8", "9", "10"), "group")},
        1: {"plus": PLUS, "minus": Told((), "rlsd")},
    }
    requests = plan_scoring([row(3), row(1)], told, rule("cepo"), asking())
    logp_NT = random_logps(requests, 0)
    found = logps_by_prompt(requests, logp_NT, told)
    assert torch.equal(found[3]["plus"], logp_NT[0])
    torch.testing.assert_close(found[3]["minus"], logp_NT[1:4].exp().mean(dim=0).log())
    assert "student" not in found[3]
    assert torch.equal(found[1]["plus"], logp_NT[4])
    assert torch.equal(found[1]["minus"], logp_NT[5])
    assert torch.equal(found[1]["student"], logp_NT[5])


def test_as_many_log_probs_as_requests() -> None:
    requests = plan_scoring([row(0)], {0: BOTH}, rule("cepo"), asking())
    with pytest.raises(ValueError, match="zip"):
        logps_by_prompt(requests, torch.zeros(1, WIDTH), {0: BOTH})


# --- credit -----------------------------------------------------------------------------------------------

KINDS = {"one": Told(("8",), "group"), "three": Told(("8", "9", "10"), "group"), "rlsd": Told((), "rlsd")}


@dataclass(frozen=True)
class Scene:
    """Rows in any order, some with several references, some with none, and the log-probs of forwards."""

    rows: list[Row]
    references: dict[int, References]
    requests: Sequence[ScoreRequest]
    logp_NT: Tensor
    mask_BT: Tensor
    broken: set[int]

    @property
    def advantage_B(self) -> Tensor:
        by_place = {r.index: r.advantage for r in self.rows}
        return torch.tensor([by_place[index] for index in range(len(self.rows))], dtype=torch.float64)

    def naively(self, method: str) -> list[naive.Row | None]:
        told: list[naive.Told] = [{"minus": None} for _ in self.rows]
        student: naive.Rows = [[] for _ in self.rows]
        for request, logp_T in zip(self.requests, self.logp_NT.tolist(), strict=True):
            if request.prompt == "student":
                student[request.row] = logp_T
            else:
                told[request.row][request.prompt] = [*(told[request.row].get(request.prompt) or []), logp_T]
        return naive.assign(method, told, student, self.advantage_B.tolist(), self.mask_BT.tolist(), 0.5, 0.5)


def scene_of(method: str, draw: st.DrawFn) -> Scene:
    count, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**16))
    rng = Random(seed)
    kinds = [draw(st.sampled_from(sorted(KINDS))) for _ in range(count)]
    broken = {index for index in range(count) if draw(st.integers(0, 4)) == 0}
    told: dict[int, References] = {index: {"plus": PLUS, "minus": KINDS[kind]} for index, kind in enumerate(kinds)}
    if method == "rlsd":
        told = {index: {"plus": PLUS} for index in told}
    lengths = [rng.randrange(1, WIDTH + 1) for _ in range(count)]
    order = draw(st.permutations(range(count)))
    rows = [row(index, advantage=rng.choice([-2.0, -0.5, 0.75, 1.5]), tokens=lengths[index]) for index in order]
    requests = plan_scoring(rows, told, rule(method), asking(), with_student=range(count))
    logp_NT = random_logps(requests, seed).double()
    for request, logp_T in zip(requests, logp_NT, strict=True):
        if request.row in broken and request.prompt == "plus":
            logp_T[rng.randrange(lengths[request.row])] = rng.choice([torch.nan, -torch.inf, torch.inf])
        logp_T[lengths[request.row] :] = torch.nan  # padding may hold anything
    mask_BT = torch.arange(WIDTH) < torch.tensor(lengths)[:, None]
    return Scene(rows, told, requests, logp_NT, mask_BT, broken)


@pytest.mark.parametrize("method", ["cepo", "rlsd"])
@given(data=st.data())
def test_a_step_is_the_double_loops(method: str, data: st.DataObject) -> None:
    """Several references, the fallback to the student, rows in any order, and broken forwards, dropped and counted."""
    scene = scene_of(method, data.draw)
    logps = logps_by_prompt(scene.requests, scene.logp_NT, scene.references)
    got = assign_credit(step(rule(method)), scene.rows, logps, scene.advantage_B, scene.mask_BT)
    expected = scene.naively(method)
    assert got.nonfinite == len(scene.broken) == expected.count(None)
    assert got.scored == len(scene.rows)
    assert list(got.rows) == [own.index for own in scene.rows if expected[own.index] is not None]
    found_BT = got.credit.advantage_BT if got.credit is not None else torch.zeros(0, WIDTH)
    for found_T, index in zip(found_BT, got.rows, strict=True):
        torch.testing.assert_close(found_T, torch.tensor(expected[index], dtype=torch.float64))


def test_the_fallback_of_cepo_is_rlsd_to_the_bit() -> None:
    told: dict[int, References] = {0: {"plus": PLUS, "minus": Told((), "rlsd")}}
    requests = plan_scoring([row(0)], told, rule("cepo"), asking())
    logps = logps_by_prompt(requests, random_logps(requests, 1), told)
    advantage_B, mask_BT = torch.tensor([-1.5]), torch.ones(1, WIDTH)
    ours, other = (
        assign_credit(step(rule(name)), [row(0)], logps, advantage_B, mask_BT).credit for name in ("cepo", "rlsd")
    )
    assert ours is not None
    assert other is not None
    assert torch.equal(ours.advantage_BT, other.advantage_BT)
    assert ours.evidence_BT.abs().max() > 0.1


def test_a_step_without_rows_or_rule_is_as_it_was() -> None:
    asked = step(rule("cepo"))
    assert assign_credit(asked, [], {}, torch.ones(6), torch.ones(6, WIDTH)) == asked
    asked = step(rule("grpo"))
    assert assign_credit(asked, [row(0)], {}, torch.ones(6), torch.ones(6, WIDTH)) == asked


def test_a_step_whose_forwards_are_all_broken_has_no_credit_and_says_so() -> None:
    logps = {0: {"plus": torch.full((WIDTH,), torch.nan), "minus": torch.zeros(WIDTH)}}
    found = assign_credit(step(rule("cepo")), [row(0)], logps, torch.ones(6), torch.ones(6, WIDTH))
    assert (found.credit, list(found.rows), found.nonfinite, found.scored) == (None, [], 1, 1)


# --- which rows -------------------------------------------------------------------------------------------


def chosen(method: Rule, rows: list[Row], told: References = BOTH) -> list[int]:
    return [r.index for r in credited_rows(method, rows, GROUPS, dict.fromkeys(range(6), told))]


def test_rows_that_get_credit() -> None:
    """Group 4 is decided; in group 5 all rewards are equal."""
    rows = [row(index, 4 + index // 3, advantage) for index, advantage in enumerate([1.0, 0.0, -1.0, 0.5, 0.5, 0.0])]
    assert chosen(rule("cepo"), rows) == [0, 2]
    assert chosen(rule("grpo"), rows) == []
    # Row 5 has no verdict where its siblings have one: the grader was late, and r+ and r- say nothing of it.
    assert chosen(rule("cepo", acts_where_equal=True), rows) == [0, 1, 2, 3, 4]
    assert chosen(rule("cepo"), rows, BOTH | {"minus": Told((), "rlsd")}) == [0, 2]
    assert chosen(rule("cepo"), rows, BOTH | {"minus": Told((), "grpo")}) == []


def test_rows_without_scores_are_left_out_of_a_rule_that_reads_them() -> None:
    rows = [row(0, 4, 1.0, scores=[0.5] * WIDTH), row(1, 4, 1.0), row(2, 4, 1.0, scores=[])]
    assert chosen(rule("cepo"), rows) == [0, 1, 2]
    assert chosen(rule("cepo", reads=frozenset({"scores"})), rows) == [0, 2]


# --- what a rule is handed --------------------------------------------------------------------------------


@pytest.fixture
def seen() -> list[Inputs]:
    return []


def spying(seen: list[Inputs], *reads: Any, prompts: tuple[str, ...] = (), **more: Any) -> Rule:
    def body(inputs: Inputs) -> Credit:
        seen.append(inputs)
        return credit_from(inputs, torch.zeros(inputs.mask_BT.shape))

    return Rule("spy", "a test", prompts, body, frozenset(reads), **more)


def test_a_rule_is_handed_the_numbers_of_its_own_rows(seen: list[Inputs]) -> None:
    """Rows in another order than the batch's, and one of them dropped: every number must follow its row."""
    rows = [
        row(2, 4, -1.0, 2, scores=[9.0, 8.0]),
        row(4, 5, 0.5, 3, scores=[3.0, 2.0, 1.0]),
        row(0, 4, 1.0, 4, scores=[1.0] * 4),
    ]
    logps = {index: {"student": torch.full((WIDTH,), -float(index))} for index in (2, 4, 0)}
    logps[4]["student"][1] = torch.nan
    advantage_B = torch.tensor([1.0, 0.0, -1.0, 0.0, 0.5, 0.0])
    mask_BT = torch.arange(WIDTH) < torch.tensor([4, 1, 2, 1, 3, 1])[:, None]
    entropy = {index: torch.full((WIDTH,), index + 0.5) for index in (0, 2, 4)}
    reads = ("entropy", "pass_rate", "deviation", "group_size", "reward", "verdict", "scores")
    spy = spying(seen, *reads, prompts=("student",))
    found = assign_credit(step(spy), rows, logps, advantage_B, mask_BT, entropy)
    (inputs,) = seen
    assert list(found.rows) == [2, 0]
    assert found.nonfinite == 1
    assert found.inputs is inputs
    assert inputs.advantage_B.tolist() == [-1.0, 1.0]
    assert inputs.mask_BT.sum(dim=1).tolist() == [2, 4]
    assert inputs.logp("student")[:, 0].tolist() == [-2.0, 0.0]
    assert inputs.entropy_BT[:, 0].tolist() == [2.5, 0.5]
    assert inputs.scores_BT.tolist() == [[9.0, 8.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    assert inputs.group_size_B.tolist() == [3.0, 3.0]
    assert inputs.reward_B.tolist() == [0.0, 1.0]
    assert inputs.verdict_B.tolist() == [False, True]
    assert inputs.pass_rate_B.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert inputs.deviation_B.tolist() == pytest.approx([statistics.stdev([1.0, 0.25, 0.0])] * 2)
    assert inputs.knobs == Knobs(0.5, 0.5)


def test_a_verdict_that_is_unknown_is_not_right(seen: list[Inputs]) -> None:
    rows = [row(3, 5), row(5, 5)]
    spy = spying(seen, "verdict", "pass_rate", "deviation", acts_where_equal=True)
    assign_credit(step(spy), rows, {3: {}, 5: {}}, torch.zeros(6), torch.ones(6, WIDTH))
    assert seen[0].verdict_B.tolist() == [True, False]
    assert seen[0].pass_rate_B.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert seen[0].deviation_B.tolist() == [0.0, 0.0]


def test_a_rule_is_handed_nothing_that_it_did_not_declare(seen: list[Inputs]) -> None:
    """The student's log-probs are there for the records; a rule that did not ask for them does not see them."""
    logps = {0: {"plus": torch.zeros(WIDTH), "minus": torch.zeros(WIDTH), "student": torch.zeros(WIDTH)}}
    found = assign_credit(step(spying(seen, prompts=("plus",))), [row(0)], logps, torch.ones(6), torch.ones(6, WIDTH))
    (inputs,) = seen
    assert set(inputs.logps) == {"plus"}
    for prompt in ("minus", "student"):
        with pytest.raises(RuleError, match=f"reads the prompt '{prompt}', but declares"):
            inputs.logp(prompt)
    for name in ("entropy_BT", "pass_rate_B", "deviation_B", "group_size_B", "reward_B", "verdict_B", "scores_BT"):
        with pytest.raises(RuleError, match="does not declare it"):
            getattr(inputs, name)
    assert set(found.logps[0]) == {"plus", "minus", "student"}, "records keep what was scored"


def test_a_rule_may_move_rows_without_an_advantage() -> None:
    """`acts_where_equal`: groups of equal rewards, where A = 0, get what the rule says."""

    def push(inputs: Inputs) -> Credit:
        credit = credit_from(inputs, torch.zeros(inputs.mask_BT.shape))
        return replace(credit, advantage_BT=credit.advantage_BT + 0.25 * inputs.mask_BT)

    pushing = Rule("push", "a test", ("plus", "minus"), push, acts_where_equal=True, keeps_sign=False)
    rows = [r for r in (row(3, 5, 0.0), row(4, 5, 0.0)) if r.index in chosen(pushing, [row(3, 5, 0.0), row(4, 5, 0.0)])]
    logps = {index: {"plus": torch.zeros(WIDTH), "minus": torch.zeros(WIDTH)} for index in (3, 4)}
    found = assign_credit(step(pushing), rows, logps, torch.zeros(6), torch.ones(6, WIDTH))
    assert found.credit is not None
    assert found.credit.advantage_BT.tolist() == [[0.25] * WIDTH] * 2
