"""First errors: evidence that is planted on a step is found there, an echo of the answer is called one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from cepo.data.datasets import DataSpec
from cepo.glossary import Rollout, Span
from cepo.lab.audit.blame_picture import draw_blame
from cepo.lab.audit.first_error import PLACES, blame_of, failed_steps, praise_of
from cepo.lab.audit.labels import Labels
from cepo.lab.audit.ledger import Cell, Ledger
from cepo.lab.audit.metrics import resamples
from cepo.lab.audit.problems import load_problems
from cepo.lab.audit.run import AuditResult
from cepo.lab.audit.steps import FILLER, StepLabels, step_labels
from cepo.lab.audit.table import as_markdown
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import Variant

TEXT = "then 3, so 15, now 9; \\boxed{9}"
SPANS = (
    Span(0, 5, decisive=False), Span(5, 6, decisive=True), Span(6, 11, decisive=False), Span(11, 13, decisive=True),
    Span(13, 19, decisive=False), Span(19, 20, decisive=True), Span(20, 29, decisive=False),
    Span(29, 30, decisive=True), Span(30, 31, decisive=False),
)  # fmt: skip
CHARS = tuple((index, index + 1) for index in range(len(TEXT)))


def labelled(wrong_from: int | None, chars: tuple[tuple[int, int], ...] = CHARS) -> StepLabels:
    return step_labels(TEXT, chars, Labels(SPANS, wrong_from))


def evidence(**at: float) -> np.ndarray:
    """Zero but at characters `t5=..`."""
    found = np.zeros(len(TEXT))
    for name, value in at.items():
        found[int(name[1:])] = value
    return found


def test_steps_are_the_decisive_spans_and_the_box_restates_the_last() -> None:
    steps = labelled(12)
    assert (steps.steps, steps.wrong, steps.answer, steps.last) == (3, 1, 3, 2)
    marked = {int(t): int(steps.step_T[t]) for t in np.flatnonzero(steps.step_T != FILLER)}
    assert marked == {5: 0, 11: 1, 12: 1, 19: 2, 29: 3}
    assert labelled(None).wrong is None
    assert labelled(29).wrong == 3  # a right chain, another number in the box


def test_a_token_over_two_steps_belongs_to_the_wrong_one() -> None:
    chars = ((0, 12), (12, 20), (20, 31))
    assert labelled(19, chars).step_T.tolist() == [0, 2, 3]
    assert labelled(5, chars).step_T.tolist() == [0, 1, 3]


def test_without_a_box_the_last_step_is_the_last_value() -> None:
    text, spans = TEXT[:21], (*SPANS[:6], Span(20, 21, decisive=False))
    steps = step_labels(text, CHARS[:21], Labels(spans, 5))
    assert (steps.steps, steps.answer, steps.last) == (3, None, 2)


def test_blame_by_hand() -> None:
    """1 nat on the step before, 3 on the first wrong one (2 of them on its second digit), 1 on the last, 1 on the box,
    2 on a word, and praise that is no blame.
    """
    found = blame_of(evidence(t5=-1, t11=-1, t12=-2, t19=-1, t29=-1, t0=-2, t1=5), labelled(12))
    assert found["found"] == 0.5  # its largest token, 2 nats, ties with the word's
    assert found["chance"] == pytest.approx(1 / 3)
    assert (found["at_end"], found["found_early"]) == (0.0, 0.5)
    shares = {"blame_before": 1, "blame_at": 3, "blame_after": 2, "blame_words": 2}
    assert {name: found[name] for name in shares} == {name: pytest.approx(value / 8) for name, value in shares.items()}
    assert {place: found[place] for place in PLACES if found[place]} == {
        "1 before": 1 / 8,
        "first wrong": 3 / 8,
        "last step": 1 / 8,
        "answer": 1 / 8,
        "words": 2 / 8,
    }
    assert found["echo"] == pytest.approx(2 / 13)
    assert sum(found[place] for place in PLACES) == pytest.approx(1.0)


def test_an_echo_of_the_answer_finds_nothing_but_errors_at_the_end() -> None:
    echo = evidence(t19=-10, t29=-0.5)
    early, late, box = (blame_of(echo, labelled(wrong)) for wrong in (5, 19, 29))
    assert (early["found"], early["at_end"], early["found_early"]) == (0.0, 0.0, 0.0)
    assert early["echo"] == 1.0
    assert (late["found"], late["at_end"]) == (1.0, 1.0)
    assert np.isnan(late["found_early"])
    assert np.isnan(late["echo"])
    assert (box["found"], box["at_end"], box["1 before"]) == (0.0, 1.0, pytest.approx(10 / 10.5))


def test_blame_that_is_spread_finds_by_tokens_and_none_at_all_finds_nothing() -> None:
    even = blame_of(-np.ones(len(TEXT)), labelled(12))
    assert even["found"] == pytest.approx(2 / len(TEXT))
    assert even["blame_words"] == pytest.approx((len(TEXT) - 5) / len(TEXT))
    praised = blame_of(np.ones(len(TEXT)), labelled(12))
    assert praised["found"] == 0.0
    assert np.isnan(praised["blame_at"])
    with pytest.raises(ValueError, match="where a step is wrong"):
        blame_of(np.zeros(len(TEXT)), labelled(None))


def test_far_places_are_counted_together() -> None:
    step_T = np.arange(10)
    found = blame_of(-np.ones(10), StepLabels(step_T, 9, 4, 9))
    shares = [found[place] for place in PLACES]
    assert shares == pytest.approx([0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0])


def test_praise_by_hand() -> None:
    """Siblings failed at step 1: its first digit has the largest praise."""
    found = praise_of(evidence(t5=1, t11=3, t19=2, t29=1, t0=1, t1=-4), labelled(None), frozenset({1}))
    assert found == {
        "praise_found": 1.0,
        "praise_chance": pytest.approx(1 / 3),
        "praise_at": pytest.approx(3 / 8),
        "praise_other": pytest.approx(4 / 8),
        "praise_words": pytest.approx(1 / 8),
        "praise_echo": pytest.approx(3 / 12),
    }
    elsewhere = praise_of(evidence(t5=4, t11=3), labelled(None), frozenset({1, 2}))
    assert elsewhere["praise_found"] == 0.0
    assert elsewhere["praise_chance"] == pytest.approx(2 / 3)


def member(right: bool, steps: StepLabels | None) -> Target:
    return Target(0, (1,), "x", ((0, 1),), Rollout("x", "1", right, float(right)), None, False, steps)


def test_what_siblings_failed_at_are_the_first_errors_of_wrong_ones() -> None:
    group = [member(True, labelled(None)), member(False, labelled(5)), member(False, labelled(19)), member(False, None)]
    assert failed_steps(group) == {0, 2}


def test_geometry_meets_the_protocol_with_text_of_its_own() -> None:
    """Wrong solutions of its solver: the first wrong step is where their path leaves the right one."""
    seen = 0
    for problem in load_problems(DataSpec("geometry", split="validation", limit=30, seed=1), 1):
        wrong = problem.worked[1]
        assert problem.label is not None
        labels = problem.label(wrong.text)
        if labels is None:
            continue
        chars = tuple((index, index + 1) for index in range(len(wrong.text)))
        steps = step_labels(wrong.text, chars, labels)
        right = step_labels(problem.worked[0].text, chars, problem.worked[0].labels)
        assert right.wrong is None
        assert steps.wrong is not None
        assert steps.answer is not None
        pieces = [wrong.text[s.start : s.end] for s in labels.spans if s.decisive]
        gold = [problem.worked[0].text[s.start : s.end] for s in problem.worked[0].labels.spans if s.decisive]
        assert pieces[steps.wrong : steps.wrong + 1] != gold[steps.wrong : steps.wrong + 1]
        seen += 1
    assert seen > 20


def recorded(shares: dict[str, float]) -> AuditResult:
    ledger = Ledger(resamples(20, 50, 0))
    values = dict.fromkeys(PLACES, 0.0) | shares | {"found": 0.5, "chance": 0.2, "at_end": 0.3}
    one = {name: np.full(51, value) for name, value in values.items()}
    ledger.add("first_error", "cepo-own", "", one, np.arange(20))
    facts = {"problems": 20, "rollouts": 40, "rollouts_right": 1, "rollouts_truncated": 0, "problems_decided": 20}
    return AuditResult(ledger, [Variant("cepo", "own")], facts | {"rollouts_compared": 40}, {}, [])


def test_the_picture_has_a_row_for_each_method(tmp_path: Path) -> None:
    result = recorded({"first wrong": 0.75, "last step": 0.25})
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert draw_blame(result, "tiny", tmp_path / "blame.svg")
    text = " ".join("".join(ElementTree.parse(tmp_path / "blame.svg").getroot().itertext()).split())
    assert "cepo-own" in text
    assert "75" in text.split()
    assert "25" in text.split()
    assert "A random step finds it in 20%, always the last step in 30%." in text
    assert not draw_blame(replace(result, ledger=Ledger(resamples(2, 10, 0))), "tiny", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_table_has_the_places_and_what_they_mean() -> None:
    text = as_markdown(recorded({"first wrong": 0.75}), {"model": "m", "data": "d", "command": "c"}, [])
    assert "## Wrong rollouts: does blame find the first error?" in text
    assert "| cepo-own | 0.50 [0.50, 0.50] | 0.20" in text
    assert "| 3 or more before | 2 before | 1 before | first wrong |" in text
    assert recorded({}).ledger[Cell("first_error", "cepo-own", "", "found")] is not None
