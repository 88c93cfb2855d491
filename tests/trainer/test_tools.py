"""Tools and environments of TRL's under token-level credit: what tools say gets none, the last turn answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.chat_template_utils import qwen3_chat_template

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.rules import get_method
from cepo.credit.step import Asking, Row, plan_scoring
from cepo.errors import DataError, SettingError
from cepo.glossary import Told
from cepo.models.processor import load_processor
from cepo.reports.traces import read_traces
from cepo.reports.turns import turns_of
from tests.runs.small import write_model
from tests.trainer.small_text import build, problems

pytestmark = pytest.mark.long

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": %d, "b": 3}}\n</tool_call><|im_end|>'


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    if a == 1:
        raise ValueError("the tool is broken")
    return a + b


class Sums:
    """An environment with the same tool, which says something of each rollout's own when it is reset."""

    made = 0

    def reset(self, **row: Any) -> str:
        Sums.made += 1
        return f" Try number {Sums.made}."

    def add(self, a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: The first.
            b: The second.
        """
        return add(a, b)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model", positions=2048)


def answers_right(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [float(f"boxed{{{gold}}}" in text[-1]["content"]) for text, gold in zip(completions, answer, strict=True)]


def trainer_of(small: Path, folder: Path, options: Any, **fields: Any) -> Any:
    """Its model is made to speak: a call of the tool, then an answer; every other row's is wrong."""
    tokenizer: Any = load_processor(str(small))
    tokenizer.chat_template = qwen3_chat_template
    given = {"max_completion_length": 200, "shuffle_dataset": False, "wrong_reward": None, "max_steps": 1, **fields}
    trainer = build(small, folder, tokenizer=tokenizer, options=options, rewards=[answers_right], **given)
    first = [True]

    def speak(prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        texts = [CALL % (row // 4) if first[0] else f"It is \\boxed{{{3 if row % 2 else 77}}}<|im_end|>"
                 for row in range(len(prompt_ids))]  # fmt: skip
        first[0] = False
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], None

    trainer._generate_single_turn = speak
    return trainer


def step_of(trainer: Any) -> tuple[Any, dict[str, Any], list[str]]:
    """One generation: the step's credit, TRL's batch, and what was scored, as text."""
    steps: list[Any] = []
    scored: list[str] = []
    credit, scorer = trainer._credited, trainer.scorer

    def crediting(*given: Any) -> Any:
        steps.append(credit(*given))
        return steps[-1]

    def scoring(sequences: Any, width: int) -> torch.Tensor:
        scored.extend(trainer.tokenizer.decode(one.prompt_ids) for one in sequences)
        return scorer(sequences, width)

    trainer._credited, trainer.scorer = crediting, scoring
    trainer.model.train()
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    return steps[0], batch, scored


@pytest.mark.parametrize("method", ["cepo", "rlsd"])
@pytest.mark.parametrize("options", [{"tools": [add]}, {"environment_factory": Sums}], ids=["tools", "environment"])
def test_what_tools_say_gets_no_credit(method: str, options: Any, small: Path, tmp_path: Path) -> None:
    trainer = trainer_of(small, tmp_path, options, method=method)
    step, batch, scored = step_of(trainer)
    assert list(step.rows) == [0, 1, 2, 3]
    decode: Callable[..., str] = trainer.tokenizer.decode
    for row in range(4):
        kept = batch["completion_mask"][row].bool()
        said = decode(batch["completion_ids"][row][kept & (batch["tool_mask"][row] == 0)])
        own = decode(batch["completion_ids"][row][kept & (batch["tool_mask"][row] == 1)])
        assert "<tool_response>\n3\n</tool_response>" in said
        assert "tool_response" not in own
        assert '"name": "add"' in own
        assert "boxed" in own
        of_tool = step.credit.evidence_BT[row][kept & (batch["tool_mask"][row] == 0)]
        assert not of_tool.any()
        assert step.credit.evidence_BT[row].abs().max() > 0
        base = step.inputs.advantage_B[row]
        assert torch.all(batch["advantages"][row][batch["tool_mask"][row] == 0] == base)
    assert [rollout.correct for rollout in step.groups.groups[0].rollouts] == [False, True, False, True]
    assert [rollout.answer for rollout in step.groups.groups[0].rollouts] == ["77", "3", "77", "3"], "of the last turn"
    wrong, right = (step.groups.groups[0].rollouts[row].text for row in (0, 1))
    assert wrong == "add(a=0, b=3)\nIt is \\boxed{77}", "what siblings are told of it: its calls, not the tool's words"
    assert right == "add(a=0, b=3)\nIt is \\boxed{3}"
    told = [prompt for prompt in scored if "(The answer to this problem is" in prompt]
    assert told
    assert all('{"name": "add", "description"' in prompt for prompt in told), "the teacher knows the tools"
    if "environment_factory" in options:
        assert all("Try number" in prompt for prompt in told)
        tries = {prompt.split("Try number ")[1].split(".")[0] for prompt in scored}
        assert len(tries) == 4, "each rollout keeps what its own environment said"


def test_it_trains_also_where_a_tool_raises(small: Path, tmp_path: Path) -> None:
    """Two problems: for the second the tool raises, and the model is told so."""
    options, rows = {"tools": [add]}, problems(2)
    trainer = trainer_of(small, tmp_path, options, data=rows, per_device_train_batch_size=8, trace_groups=1)
    trainer.train()
    first = next(iter(read_traces(tmp_path / "run" / "traces")))
    assert [turn.number for turn in turns_of(first)] == [1, 2]
    call, answer = ("".join(first.tokens[turn.start : turn.end]) for turn in turns_of(first))
    assert '"name": "add"' in call
    assert "boxed" in answer
    ((start, end),) = first.said_by_tools
    assert "tool_response" in "".join(first.tokens[start:end])
    log = trainer.state.log_history[0]
    assert log["tools/failure_frequency"] == 0.5
    assert log["tools/call_frequency"] == 1.0
    assert log["credit/lambda"] == 0.5


def test_a_tools_image_is_refused(small: Path) -> None:
    rule: Any = get_method("cepo")
    row = Row(0, 0, "x", [1, 2], [3, 9, 4], None, 1.0)
    told = dict.fromkeys(rule.references, Told(("7",), "gold"))
    prompts = TeacherPrompts(load_processor(str(small)), lambda prompt: str(prompt), "prefill")  # pyright: ignore[reportArgumentType]
    assert len(plan_scoring([row], {0: told}, rule, Asking(prompts, image_token_id=8))) == 2
    with pytest.raises(DataError, match="a tool answered with an image"):
        plan_scoring([row], {0: told}, rule, Asking(prompts, image_token_id=9))


def test_environments_beside_a_teachers_own_template_are_refused(small: Path, tmp_path: Path) -> None:
    """The teachers' prompt would be made anew, without what each rollout's environment said."""
    with pytest.raises(SettingError, match="environment_factory says something of each rollout's own"):
        trainer_of(
            small, tmp_path, {"environment_factory": Sums}, teacher_chat_template_kwargs={"enable_thinking": True}
        )
