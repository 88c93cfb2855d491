"""Tools that a recipe names: the model calls them in training and in the run's own evaluations."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen3Config
from trl.chat_template_utils import qwen3_chat_template

import cepo.runs.evaluation as evaluation
from cepo.cli import main
from cepo.data.tools import TOOLS
from cepo.evaluate import load_generations
from cepo.runs.recipe import load_recipe, resolve_recipe
from cepo.runs.subject import subject_of
from cepo.trainer import phases
from cepo.trainer.internals_prompts import PromptTrainer
from tests.pair import Outcome, Sharding, on_two
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
    before = dict(TOOLS)
    TOOLS.clear()
    yield written
    TOOLS.clear()
    TOOLS.update(before)


def test_evaluations_are_conversations(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert train(recipe, run, "--eval_curve_every", "1") == 0
    assert "cepo eval" not in capsys.readouterr().out, "it would ask for one turn"
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
    both = train_on_two(recipe, tmp_path / "two", "ddp")
    assert [one.value for one in both] == [0, 0], "".join(one.error for one in both)
    found = load_generations(tmp_path / "two" / "run" / "eval" / "after.jsonl")
    assert [one.correct for one in found] == [False] * 2 + [True] * 18


@pytest.mark.slow
@pytest.mark.long
def test_tools_on_sharded_weights_are_refused(recipe: Path, tmp_path: Path) -> None:
    both = train_on_two(recipe, tmp_path / "two", "fsdp2")
    assert [one.value for one in both] == [2, 2], "".join(one.error for one in both)


def train_on_two(recipe: Path, folder: Path, sharding: Sharding) -> list[Outcome]:
    """Exit codes of a step."""
    return on_two(lambda rank, to: train(recipe, to / "run", "--max_steps", "1"), folder, sharding, seconds=100)


def test_prompts_are_measured_with_their_tools(recipe: Path) -> None:
    """By the doctor, and where rows that are too long are dropped: before there is a trainer."""
    run, config = resolve_recipe(load_recipe(recipe))
    tokenizer: Any = AutoTokenizer.from_pretrained(run.model)
    subject = subject_of(run, config, Dataset.from_list([]), tokenizer, Qwen3Config())
    assert '"name": "add"' in subject.render([{"role": "user", "content": "1+4=?"}])


def test_what_tools_need_is_said(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(recipe), "--output_dir", str(tmp_path / "run")]
    assert main([*words, "--tools", "[addd]"]) == 2
    assert "unknown tool 'addd': known are add; did you mean 'add'" in capsys.readouterr().err
    TOOLS.pop("add")
    assert (
        main([*words, "--method_files", "[]", "--rewards", "accuracy_reward", "--wrong_reward", "accuracy_reward"]) == 2
    )
    assert "put it into cepo.TOOLS" in capsys.readouterr().err
    assert main(words) == 0
    assert main(["eval", str(tmp_path / "run")]) == 2
    assert "was trained with tools (add)" in capsys.readouterr().err
    experiment = tmp_path / "experiment.yaml"
    arms = [{"name": name, "method": name} for name in ("cepo", "grpo")]
    experiment.write_text(
        yaml.safe_dump(
            {
                "recipe": str(recipe),
                "arms": arms,
                "seeds": [0],
                "baseline": "grpo",
                "checkpoint_steps": 1,
                "evaluate": {"data": str(recipe.with_name("sums.jsonl")), "split": "train", "limit": 2},
            }
        )
    )
    assert main(["compare", "--config", str(experiment), "--out", str(tmp_path / "compared")]) == 2
    assert "tools=['add']: a comparison asks for one turn" in capsys.readouterr().err


def train(recipe: Path, out: Path, *words: str) -> int:
    return main(["train", "--config", str(recipe), "--output_dir", str(out), *words])


def unevaluated(recipe: Path) -> Path:
    """The same recipe without evaluations."""
    other = recipe.with_name("unevaluated.yaml")
    lines = recipe.read_text().splitlines()
    other.write_text("\n".join(line for line in lines if not line.startswith(("eval_data", "eval_samples"))))
    return other


def largest_difference(one: Path, other: Path) -> float:
    own, others = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    return max(float((own[name] - others[name]).abs().max()) for name in own)


def first_log(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[0])


def test_rewards_are_not_asked_in_evaluations(recipe: Path, tmp_path: Path) -> None:
    """A reward may read a column that the data for evaluation lack: without tools nothing calls it there."""
    folder = recipe.parent
    rows = [json.loads(line) for line in (folder / "sums.jsonl").read_text().splitlines()]
    (folder / "train.jsonl").write_text("".join(json.dumps({**row, "solution": "add them"}) + "\n" for row in rows))
    (folder / "more.py").write_text(
        "from cepo.data.rewards import REWARDS\n\n\ndef by_solution(prompts, completions, solution, **_):\n"
        "    return [float(place % 2) for place in range(len(solution))]\n\n\nREWARDS['by_solution'] = by_solution\n"
    )
    words = ["--data", str(folder / "train.jsonl"), "--rewards", "by_solution", "--wrong_reward", "by_solution"]
    words += ["--method_files", f"[{folder / 'tool.py'},{folder / 'more.py'}]"]
    assert train(recipe, tmp_path / "run", *words) == 0


@pytest.mark.parametrize("who", ["reward", pytest.param("tool", marks=pytest.mark.long)])
def test_an_evaluation_leaves_pythons_random_state(who: str, recipe: Path, tmp_path: Path) -> None:
    """Rewards and tools may draw with `random`: with eval_data and without, the training is the same."""
    file = recipe.parent / "tool.py"
    text = "import random\n" + file.read_text()
    if who == "reward":
        text = text.replace("float(place % 2)", "float(random.random() < 0.5)")
    else:
        text = text.replace("{a + b}", "{random.randrange(10_000_000)}")
    file.write_text(text)
    assert train(recipe, tmp_path / "a", "--max_steps", "2") == 0
    assert train(unevaluated(recipe), tmp_path / "b", "--max_steps", "2") == 0
    assert largest_difference(tmp_path / "a", tmp_path / "b") == 0.0


def test_an_evaluation_is_not_gone_on_with_by_other_tools(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before there is a checkpoint; then the tool is another."""
    inner, calls = evaluation._conversations, []

    def cut(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt("cut")
        return inner(*given)

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_conversations", cut)
        assert train(recipe, tmp_path / "run") != 0
    assert list((tmp_path / "run" / "eval" / "before.parts").glob("*.jsonl"))
    file = recipe.parent / "tool.py"
    file.write_text(file.read_text().replace("a + b", "a + b + 1"))
    assert train(recipe, tmp_path / "run") == 0
    found = load_generations(tmp_path / "run" / "eval" / "before.jsonl")
    assert not any(one.correct for one in found), "of the first tool, which was right"


def test_an_evaluation_is_no_phase_of_a_step(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a turn in an evaluation moves by a hundred seconds."""
    past = [0.0]
    inner = PromptTrainer._generate_single_turn

    def slow(self: Any, *given: Any, **named: Any) -> Any:
        past[0] += 0.0 if self.model.training else 100.0
        return inner(self, *given, **named)

    real = time.perf_counter
    monkeypatch.setattr(phases.time, "perf_counter", lambda: real() + past[0])
    monkeypatch.setattr(PromptTrainer, "_generate_single_turn", slow)
    assert train(recipe, tmp_path / "run") == 0
    assert past[0] > 0.0
    assert first_log(tmp_path / "run")["phase/generation_s"] < 100.0
