"""The example with a tool: what the tool takes, how TRL reads calls, whose tokens are learnt, and the whole of it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

from cepo.data.messages import completion_text, solution_text
from cepo.reports.traces import read_traces
from cepo.reports.turns import turns_of
from tests.package.test_examples import EXAMPLES

PARTS = ("tool", "language", "warm_start", "training", "compare")
KEY = "7+3-5+9-1"


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, ModuleType]]:
    """The example's files, as `python examples/calculator` imports them."""
    folder = str(EXAMPLES / "calculator")
    sys.path.insert(0, folder)
    yield {name: importlib.import_module(name) for name in PARTS}
    sys.path.remove(folder)
    for name in PARTS:
        del sys.modules[name]


@pytest.fixture(scope="module")
def tokenizer(parts: Any) -> Any:
    return parts["language"].build_tokenizer()


@pytest.fixture
def rollout(parts: Any) -> list[dict[str, Any]]:
    """The messages of a right one."""
    problem = parts["warm_start"].Problem.parse(KEY)
    return parts["warm_start"].conversation(problem.question, parts["warm_start"].calls_of(problem, None))


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("7+3", "0"), ("3-7", "6"), ("3 - 7", "6"), ("120+45", "5"), ("7*3", "error"), ("7+3+1", "error"),
        ("7", "error"), ("", "error"), ("7+3\n", "error"), ("9" * 5000 + "+1", "error"), ("٣+1", "error"),
        ("__import__('os').getcwd()", "error"), (7, "error"), (None, "error"), (["7+3"], "error"),
    ],
)  # fmt: skip
def test_the_calculator_reads_one_form_and_runs_nothing(expression: object, said: str, parts: Any) -> None:
    assert parts["tool"].calculator(expression) == said


def test_trl_reads_what_the_template_writes(parts: Any, tokenizer: Any, rollout: Any) -> None:
    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)
    tools = [parts["tool"].calculator]
    for turn in [k for k, message in enumerate(rollout) if message["role"] == "assistant"]:
        given: Any = {"tools": tools, "return_dict": False}
        prefix = tokenizer.apply_chat_template(rollout[:turn], add_generation_prompt=True, **given)
        whole = tokenizer.apply_chat_template(rollout[: turn + 1], **given)
        assert whole[: len(prefix)] == prefix
        assert tokenizer.unk_token_id not in whole
        read = parse_response(tokenizer, whole[len(prefix) :], prefix=prefix, tools=tools)
        written = {**rollout[turn], "content": rollout[turn]["content"].strip()}
        assert read == written, "what was called, and the words before it"
    broken = tokenizer.encode('first <tool_call>{"name": "calculator", "arguments": {"expression": "7+<|im_end|>')
    assert "tool_calls" not in parse_response(tokenizer, broken, prefix=prefix, tools=tools)


def test_only_the_models_own_words_are_learnt(parts: Any, tokenizer: Any, rollout: Any) -> None:
    ids, own = parts["language"].own_and_others(tokenizer, rollout, [parts["tool"].calculator])
    as_a_whole = tokenizer.apply_chat_template(rollout, tools=[parts["tool"].calculator], return_dict=False)
    assert ids == as_a_whole, "training meets the ids that were taught"
    said = tokenizer.decode([index for index, is_own in zip(ids, own, strict=True) if is_own])
    call = '{} <tool_call>{{"name": "calculator", "arguments": {{"expression": "{}"}}}}</tool_call><|im_end|>'
    calls = zip(("first", "second", "third", "fourth"), ("7+3", "0-5", "5+9", "4-1"), strict=True)
    assert said == "".join(call.format(*one) for one in calls) + "\\boxed{3}<|im_end|>"
    problem = parts["warm_start"].Problem.parse(KEY)
    for is_told in (False, True):
        ids_BT, labels_BT = parts["warm_start"].rows(tokenizer, [problem] * 3, is_told, Random(0))
        assert tokenizer.unk_token_id not in ids_BT
        kept = labels_BT != -100
        assert kept.sum().item() == 3 * sum(own)
        assert (labels_BT[kept] == ids_BT[kept]).all()


def test_a_solution_is_told_in_the_words_for_a_siblings(parts: Any, rollout: Any) -> None:
    problem = parts["warm_start"].Problem.parse(KEY)
    assert problem.solution == solution_text(rollout)
    assert completion_text(rollout).endswith("\\boxed{3}")
    assert problem.answer == "3"


def test_the_policy_chooses_wrongly_where_it_is_said_to(parts: Any) -> None:
    choose, rng = parts["warm_start"].choose, Random(0)
    assert {choose(rng, "7", "-", "3") for _ in range(50)} == {("7", "-", "3")}
    assert {choose(rng, "3", "-", "7") for _ in range(50)} == {("3", "-", "7"), ("7", "-", "3")}
    assert {choose(rng, "6", "+", "7") for _ in range(50)} == {("6", "+", "7"), ("6", "-", "7")}


def test_the_page_says_what_the_runs_came_to(parts: Any) -> None:
    root = EXAMPLES.parent
    runs = json.loads((root / "experiments" / "results" / "calculator" / "runs.json").read_text())
    decisive, grpo, difference = parts["compare"].verdict(runs).splitlines()
    page = " ".join((root / "docs" / "examples.md").read_text().split())
    for line in (decisive, grpo):
        assert line.split()[1] in page
    assert difference.split(": ", 1)[1].split(" points")[0] in page


@pytest.mark.long
def test_it_runs_from_nothing_to_credit_by_turn(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With chains of one step: a model of a few seconds knows how to call."""
    training = parts["training"]
    monkeypatch.setattr(training, "CHAINS", "chain:steps=1")
    model, tokenizer = training.start(steps=150, conversations=200)
    found = training.train(model, tokenizer, str(tmp_path / "run"), max_steps=4, evaluated=16)
    assert found["before"] > 0.2
    records = [
        record for record in read_traces(tmp_path / "run" / "traces") if record.evidence and record.said_by_tools
    ]
    assert records, "no rollout called the tool and had evidence"
    for record in records:
        assert record.evidence is not None
        assert [turn.number for turn in turns_of(record)][:2] == [1, 2]
        for start, end in record.said_by_tools:
            assert not any(record.evidence[start:end])
            assert "tool\n" in record.tokens[start:end]
    assert any(abs(value) > 0.1 for record in records for value in record.evidence or ())
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
