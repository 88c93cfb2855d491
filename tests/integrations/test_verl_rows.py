"""What stands between verl's batch and the credit, without verl."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cepo.answers import BOXED, Grading
from cepo.credit.groups import row_references
from cepo.credit.references import ReferencePolicy, choose_references, column_source, register_source
from cepo.credit.rules import METHODS, Credit, Distillation, Inputs, Rule, credit_from, register
from cepo.credit.step import Asking, ScoreRequest, credited_rows, plan_scoring
from cepo.glossary import Group, Rollout
from cepo.integrations.verl_rows import (
    Row,
    Tracing,
    credit_row,
    graded_groups,
    read_grading,
    read_settings,
    read_tracing,
)
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor

pytestmark = pytest.mark.usefixtures("own_registrations")

TOKENIZER: Any = load_processor(str(EMBEDDED)).tokenizer  # pyright: ignore[reportAttributeAccessIssue]


def algorithm(**fields: Any) -> dict[str, Any]:
    return {"adv_estimator": "grpo", "cepo": fields}


def test_settings() -> None:
    method, settings = read_settings(algorithm(preset="paper", credit_clip=0.3), "vanilla")
    assert (method.name, settings.reference_minus, settings.credit_clip) == ("cepo", "worst", 0.3)
    method, settings = read_settings(algorithm(method="rlsd", preset="paper"), "vanilla")
    assert settings.teacher_weights == "live", "the preset's synced teacher cannot be had"
    assert read_settings({"adv_estimator": "grpo"}, "vanilla")[0].name == "cepo"


def test_grading_is_read_and_used() -> None:
    given = algorithm(answer_format="tags", thinking_counts=True, credit_clip=0.3)
    assert read_grading(given) == Grading("tags", thinking_counts=True)
    assert read_settings(given, "vanilla")[1].credit_clip == 0.3
    assert read_grading({"adv_estimator": "grpo"}) == BOXED
    rows = {0: row("a", "7", 0.5), 1: replace(row("a", "7", -0.5), text="<answer>7</answer>")}
    for grading, right in ((BOXED, [True, False]), (Grading("tags"), [False, True])):
        assert [rollout.correct for rollout in graded_groups(rows, grading).groups[0].rollouts] == right
    with pytest.raises(ValueError, match="unknown answer_format 'box'"):
        read_grading(algorithm(answer_format="box"))
    with pytest.raises(ValueError, match="did you mean 'answer_format'"):
        read_settings(algorithm(answer_fromat="tags"), "vanilla")


@pytest.mark.parametrize(
    ("given", "loss", "words"),
    [
        (algorithm(credit_clp=0.3), "vanilla", "unknown field algorithm.cepo.credit_clp; did you mean 'credit_clip'"),
        (
            algorithm(method="opsd"),
            "vanilla",
            "method='opsd' matches distributions, .*cepo train.*'cpo'",
        ),
        (algorithm(method="sdpo"), "vanilla", "matches distributions"),
        (algorithm(method="cepoo"), "vanilla", "did you mean 'cepo'"),
        (algorithm(distill_beta=0.5), "vanilla", "unknown field algorithm.cepo.distill_beta"),
        (algorithm(teacher_weights="ema"), "vanilla", "teacher_weights='ema'"),
        (algorithm(preset="released-code"), "vanilla", "blinds the teachers"),
        (algorithm(evidence_dead_zone="auto"), "vanilla", "null control"),
        (algorithm(method="scores"), "vanilla", "rule 'scores' reads scores, which verl's trainer does not hand over"),
        (algorithm(method="scores_added"), "vanilla", "rule 'scores_added' reads scores"),
        (algorithm(method="values"), "vanilla", "rule 'values' reads scores"),
        (algorithm(method="posterior", reference_minus="own"), "vanilla", "row itself"),
        (
            algorithm(method="posterior") | {"norm_adv_by_std_in_grpo": False},
            "vanilla",
            "rule 'posterior' divides by the deviation .*norm_adv_by_std_in_grpo=False",
        ),
        (algorithm(trace_group=3), "vanilla", "unknown field algorithm.cepo.trace_group; did you mean 'trace_groups'"),
        (algorithm(), "gspo", "loss_mode='gspo'"),
        (algorithm() | {"adv_estimator": "gae"}, "vanilla", "adv_estimator='gae'"),
    ],
)
def test_refused(given: dict[str, Any], loss: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_settings(given, loss)


def row(uid: str, said: str, advantage: float, gold: str = "7", **more: Any) -> Row:
    prompt = "What is x?"
    ids = TOKENIZER(prompt)["input_ids"]
    return Row(uid, gold, f"so \\boxed{{{said}}}", float(said == gold), advantage, prompt, ids, [2, 3], **more)


def rows_of(**more: Any) -> dict[int, Row]:
    """Groups interleave; verl's padding rows are left out before."""
    return {
        0: row("a", "7", 0.5, **more), 1: row("b", "1", 1.0, **more), 3: row("a", "8", -0.5, **more),
        4: row("b", "2", -1.0, **more), 6: row("a", "9", 0.0, **more),
    }  # fmt: skip


def planned(rows: dict[int, Row], rule: Rule, settings: Any, step: int = 3) -> dict[tuple[int, str], str]:
    """(row, prompt) -> the prompt's text, of all that verl's trainer would send to the workers."""
    groups = graded_groups(rows)
    references = row_references(groups, rule.references, settings.reference_policy(0), step)
    given = [credit_row(index, own, groups.group_of(index)) for index, own in sorted(rows.items())]
    chosen = credited_rows(rule, given, groups, references)
    requests = plan_scoring(chosen, references, rule, Asking(settings.teacher_prompts(TOKENIZER, str)))

    def text(request: ScoreRequest) -> str:
        return TOKENIZER.decode(request.sequence.prompt_ids)

    return {(request.row, request.prompt): text(request) for request in requests}


def test_groups_are_by_uid_and_graded() -> None:
    groups = graded_groups(rows_of())
    assert groups.places == {0: (0, 0), 3: (0, 1), 6: (0, 2), 1: (1, 0), 4: (1, 1)}
    assert [rollout.correct for rollout in groups.groups[0].rollouts] == [True, False, False]
    assert [rollout.answer for rollout in groups.groups[1].rollouts] == ["1", "2"]


def test_what_is_scored_is_the_groups_references() -> None:
    """A row without an advantage, and a group that is all wrong, are not scored."""
    rows = rows_of()
    rule, settings = read_settings(algorithm(reference_minus="worst"), "vanilla")
    found = planned(rows, rule, settings)
    assert found.keys() == {(0, "plus"), (0, "minus"), (3, "plus"), (3, "minus")}
    members = [Rollout(rows[i].text, said, said == "7", rows[i].reward) for i, said in ((0, "7"), (3, "8"), (6, "9"))]
    policy = ReferencePolicy(minus="worst")
    chosen = choose_references(Group("7", tuple(members)), rule.references, policy, step=3, index=0)
    for index, told in ((0, chosen[0]), (3, chosen[1])):
        for prompt in ("plus", "minus"):
            assert f"The answer to this problem is {told[prompt].texts[0]}." in found[index, prompt]
    assert chosen[0]["minus"].texts[0] in ("8", "9")
    rlsd, settings = read_settings(algorithm(method="rlsd"), "vanilla")
    assert planned(rows, rlsd, settings).keys() == {(0, "plus"), (0, "student"), (3, "plus"), (3, "student")}


def test_whole_solutions_have_their_own_words() -> None:
    """`reference_form: rationale` used to be told with the answer's words, and as an answer."""
    rows = rows_of(solution="5 + 2 = 7, so \\boxed{7}")
    rule, settings = read_settings(algorithm(reference_form="rationale", reference_minus="worst"), "vanilla")
    found = planned(rows, rule, settings)
    assert found.keys() == {(0, "plus"), (0, "minus"), (3, "plus"), (3, "minus")}
    for text in found.values():
        assert "Here is a solution to this problem:\n" in text
        assert "The answer to this problem" not in text
    assert "5 + 2 = 7, so \\boxed{7}" in found[0, "plus"]
    assert "so \\boxed{9}" in found[3, "minus"]


def test_without_a_solution_a_right_siblings_is_told() -> None:
    rule, settings = read_settings(algorithm(reference_form="rationale"), "vanilla")
    found = planned(rows_of(), rule, settings)
    assert found.keys() == {(3, "plus"), (3, "minus")}, "the right row itself has no right sibling"
    assert "so \\boxed{7}" in found[3, "plus"]


def test_the_words_around_references_may_be_the_users() -> None:
    rule, settings = read_settings(algorithm(reference_template=" <{reference}>", prompt_style="user"), "vanilla")
    assert "What is x? <7>" in planned(rows_of(), rule, settings)[0, "plus"]
    rule, settings = read_settings(algorithm(prompt_style="prefill"), "vanilla")
    assert planned(rows_of(), rule, settings)[0, "plus"].endswith("What is x?7\n")


def against_a_hint(inputs: Inputs) -> Credit:
    return credit_from(inputs, inputs.logp("plus") - inputs.logp("hint"))


def test_a_registered_rule_with_a_prompt_of_its_own_runs() -> None:
    """Its column comes with the rows; rows without it keep their base advantage."""
    register_source(column_source("hint", "skill", "rationale"))
    register(Rule("hinted", "a test", ("plus", "hint"), against_a_hint))
    rule, settings = read_settings(algorithm(method="hinted"), "vanilla")
    assert rule.name == "hinted"
    found = planned(rows_of(columns={"skill": "subtract both"}), rule, settings)
    assert found.keys() == {(0, "plus"), (0, "hint"), (3, "plus"), (3, "hint")}
    assert "Here is a solution to this problem:\nsubtract both\n" in found[0, "hint"]
    assert "The answer to this problem is 7." in found[0, "plus"]
    assert planned(rows_of(), rule, settings) == {}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_is_refused_in_a_sentence(name: str) -> None:
    """The plugin has no list of its own: a method that is registered is taken, unless verl lacks what it reads."""
    method = METHODS[name]
    if isinstance(method, Rule) and "scores" not in method.reads:
        assert read_settings(algorithm(method=name), "vanilla")[0] is method
    else:
        with pytest.raises(ValueError, match=f"'{name}' (reads scores|matches distributions)"):
            read_settings(algorithm(method=name), "vanilla")


def test_a_rule_that_reads_entropy_needs_verl_to_compute_it() -> None:
    register(Rule("reader", "a test", ("plus", "student"), against_none, frozenset({"entropy"})))
    assert read_settings(algorithm(method="reader"), "vanilla")[0].name == "reader"
    bypassed = algorithm(method="reader") | {"rollout_correction": {"bypass_mode": True}}
    with pytest.raises(ValueError, match=r"reads entropy, which verl does not compute with .*bypass_mode=True"):
        read_settings(bypassed, "vanilla")


def test_what_is_recorded() -> None:
    assert read_tracing({"adv_estimator": "grpo"}) == Tracing(2, 64, None)
    assert read_tracing(algorithm(trace_groups=3, trace_dir="there", credit_clip=0.3)) == Tracing(3, 64, "there")
    assert read_settings(algorithm(trace_groups=3, credit_clip=0.3), "vanilla")[1].credit_clip == 0.3
    assert str(Tracing().folder("checkpoints/p/e")) == "checkpoints/p/e/cepo"
    assert str(Tracing(trace_dir="/there").folder("checkpoints/p/e")) == "/there"
    for wrong in ({"trace_groups": -1}, {"trace_max_mb": 0}, {"trace_groups": "two"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* must be a whole number"):
            read_tracing(algorithm(**wrong))


def against_none(inputs: Inputs) -> Credit:
    return credit_from(inputs, inputs.logp("plus") - inputs.logp("student"))


def test_a_rule_that_reads_what_a_group_says_is_taken() -> None:
    reads: Any = frozenset({"pass_rate", "deviation", "reward", "verdict"})
    register(Rule("reader", "a test", ("plus", "student"), against_none, reads))
    assert read_settings(algorithm(method="reader"), "vanilla")[0].name == "reader"


def test_a_rule_is_read_from_its_file(tmp_path: Any) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from cepo import Rule, credit_from, register\n"
        "register(Rule('from_a_file', 'a test', ('plus', 'student'),\n"
        "              lambda inputs: credit_from(inputs, inputs.logp('plus') - inputs.logp('student'))))\n"
    )
    rule, _ = read_settings(algorithm(method="from_a_file", method_files=[str(path)]), "vanilla")
    assert rule.source == "a test"


def test_a_registered_distillation_is_refused() -> None:
    register(Distillation("mimic", "a test", told="solution"))
    with pytest.raises(ValueError, match="method='mimic' matches distributions"):
        read_settings(algorithm(method="mimic"), "vanilla")
