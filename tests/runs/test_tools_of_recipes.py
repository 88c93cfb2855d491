"""Tools that a recipe names: the model calls them in training and in the run's own evaluations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from trl.chat_template_utils import qwen3_chat_template

import cepo.runs.evaluation as evaluation
from cepo.cli import main
from cepo.data.tools import TOOLS
from cepo.evaluate import load_generations
from cepo.trainer.internals_prompts import PromptTrainer
from tests.pair import on_two
from tests.runs.small import write_model, write_recipe

TOOL = '''
from cepo.data.rewards import REWARDS
from cepo.data.tools import TOOLS


def add(a: int, b: int) -> str:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return f"\\\\boxed{{{a + b}}}"


def by_place(prompts, completions, **_):
    return [float(place % 2) for place in range(len(completions))]


TOOLS["add"], REWARDS["by_place"] = add, by_place
'''
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": %s, "b": %s}}\n</tool_call><|im_end|>'
FIELDS: dict[str, Any] = {
    "max_steps": 1, "save_strategy": "no", "max_completion_length": 120, "rewards": ["by_place"], "eval_limit": None,
    "wrong_reward": "by_place", "tools": ["add"], "eval_samples": 2,
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path, own_registrations: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a model that speaks: it asks the tool for each sum, and repeats what it hears, but for the first."""
    folder = tmp_path / "recipe"
    written = write_recipe(
        folder, **FIELDS, eval_data=str(folder / "sums.jsonl"), method_files=[str(folder / "tool.py")]
    )
    (folder / "tool.py").write_text(TOOL)
    tokenizer: Any = AutoTokenizer.from_pretrained(write_model(folder / "model", positions=2048))
    tokenizer.chat_template = qwen3_chat_template
    tokenizer.save_pretrained(folder / "model")

    def speak(self: Any, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        said = []
        for ids in prompt_ids:
            text = self.tokenizer.decode(ids)
            (a, b), heard = re.findall(r"(\d+)\+(\d+)=", text)[-1], re.findall(r"boxed{(\d+)}", text)
            said.append(
                CALL % (a, b) if not heard else "Done.<|im_end|>" if a == "0" else f"\\boxed{{{heard[-1]}}}<|im_end|>"
            )
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in said], None

    monkeypatch.setattr(PromptTrainer, "_generate_single_turn", speak)
    monkeypatch.setattr(evaluation, "BATCH", 8)
    yield written
    TOOLS.pop("add", None)


def test_evaluations_are_conversations(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", "--config", str(recipe), "--output_dir", str(run)]) == 0
    for when in ("before", "after"):
        found = load_generations(run / "eval" / f"{when}.jsonl")
        assert len(found) == 20
        for one in found:  # what the tool said, in a box too, is not what the model answered
            assert (one.correct, one.truncated) == (one.answer != "3", False)
            assert one.text.count("boxed") == int(one.answer != "3")
    prompts = json.loads((run / "prompts.json").read_text())
    assert '"name": "add"' in prompts["training"]
    assert prompts["evaluation"] == prompts["training"]
    logged = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert logged["tools/call_frequency"] == 1.0
    assert not [name for name in logged if name.startswith("eval")]


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_converse_as_one(recipe: Path, tmp_path: Path) -> None:
    def work(rank: int, folder: Path) -> int:
        return main(["train", "--config", str(recipe), "--output_dir", str(folder / "run"), "--max_steps", "1"])

    both = on_two(work, tmp_path / "two", "ddp", seconds=100)
    assert [one.value for one in both] == [0, 0], "".join(one.error for one in both)
    found = load_generations(tmp_path / "two" / "run" / "eval" / "after.jsonl")
    assert [one.correct for one in found] == [False] * 2 + [True] * 18


def test_what_tools_need_is_said(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(recipe), "--output_dir", str(tmp_path / "run")]
    assert main([*words, "--tools", "[addd]"]) == 2
    assert "unknown tool 'addd': known are add; did you mean 'add'" in capsys.readouterr().err
    TOOLS.pop("add")
    assert (
        main([*words, "--method_files", "[]", "--rewards", "accuracy_reward", "--wrong_reward", "accuracy_reward"]) == 2
    )
    assert "put it into cepo.data.tools.TOOLS" in capsys.readouterr().err
    assert main(words) == 0
    assert main(["eval", str(tmp_path / "run")]) == 2
    assert "was trained with tools (add)" in capsys.readouterr().err
