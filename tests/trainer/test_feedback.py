"""Feedback in words: from a reward function through the group to the teacher's prompt, and what cannot be used."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cepo import FeedbackReward
from cepo.credit.references import ReferencePolicy, choose_references
from cepo.credit.rules import get_method
from cepo.data.feedback import Feedback
from cepo.data.guards import guard_reward
from cepo.glossary import Group, Rollout
from cepo.trainer.resample import Graded
from tests.runs.small import write_model
from tests.trainer.small_text import build


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


def told(*rollouts: Rollout, **policy: Any) -> list[tuple[str, ...]]:
    chosen = choose_references(Group("1", rollouts), ["feedback"], ReferencePolicy(**policy), step=1, index=0)
    return [row["feedback"].texts for row in chosen]


def test_a_row_is_told_its_own_feedback_and_a_right_sibling() -> None:
    wrong, other = Rollout("a", "2", False, 0.0, "line 3: no such name"), Rollout("b", "3", False, 0.0)
    right = Rollout("c", "1", True, 1.0)
    assert told(wrong, other) == [("line 3: no such name",), ()], "without either there is nothing to tell"
    assert told(wrong, other, right) == [("line 3: no such name\nThis solution is right:\nc",), ("c",), ()]
    assert told(wrong, other, feedback_chars=6)[0] == ("line 3 ...",)


def test_it_is_a_number_that_survives_a_guard_and_a_pickle() -> None:
    reward = pickle.loads(pickle.dumps(FeedbackReward(0.25, "no")))
    assert (reward + 1, reward.feedback) == (1.25, "no")
    said = Feedback()
    functions = [lambda completions, **_: [reward, 0.5, FeedbackReward(1, "  ")]]
    functions.append(lambda completions, **_: [FeedbackReward(0, "never"), None, 1])
    for function in functions:
        rewards = guard_reward(function, None, said.add)(completions=["a", "b", "c"])
        assert all(one is None or isinstance(one, float) for one in rewards)
    assert said.take() == {0: "no\nnever"}, "white space says nothing"
    assert said.take() == {}
    with pytest.raises(TypeError, match="feedback is a text, got int 3"):
        FeedbackReward(0.0, 3)  # pyright: ignore[reportArgumentType]


def test_feedback_goes_with_its_row_when_groups_are_resampled() -> None:
    old = Graded(torch.zeros(3, 1), ["a", "b", "c"], {}, {0: "x", 1: "y"})
    fresh = Graded(torch.ones(2, 1), ["d", "e"], {}, {1: "z"})
    assert old.replacing({1: 0, 2: 1}, fresh).feedback == {0: "x", 2: "z"}


def every_other(completions: list[Any], **_: Any) -> list[float]:
    return [
        1.0 if row % 2 else FeedbackReward(0.0, f"row {row} is wrong <|im_end|>") for row in range(len(completions))
    ]


def test_the_teacher_reads_it_and_the_student_learns(small: Path, tmp_path: Path) -> None:
    trainer = build(small, tmp_path, method="sdpo_feedback", rewards=[every_other], max_steps=1, feedback_max_chars=100)
    prompts: list[str] = []
    states = trainer._distillation._states_of

    def watching(policy: Any, sequences: Any, *others: Any) -> Any:
        prompts.extend(trainer.tokenizer.decode(one.prompt_ids) for one in sequences)
        return states(policy, sequences, *others)

    trainer._distillation._states_of = watching
    start = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert sorted(prompt.count("(This was said of an attempt") for prompt in prompts) == [0, 0, 1, 1]
    for row in (0, 2):
        assert sum(f"row {row} is wrong <|im_end|>\nThis solution is right:" in prompt for prompt in prompts) == 1
    ends = trainer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    made = trainer.prompts.reference_ids("x <|im_end|>", "feedback")
    assert ends not in made, "a control token in feedback is read as text"
    assert any(not torch.equal(start[name], value) for name, value in trainer.model.named_parameters())
    assert trainer.state.log_history[0]["distill/rows_taught"] == 1.0


def test_its_teacher_is_sdpos_but_for_the_prompt() -> None:
    sdpo, own = get_method("sdpo"), get_method("sdpo_feedback")
    assert own.defaults == sdpo.defaults
    assert (sdpo.references, own.references) == (("peer",), ("feedback",))


def test_bounds(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feedback_max_chars must be at least 1, got 0"):
        build(small, tmp_path, feedback_max_chars=0)
    with pytest.raises(ValueError, match=r"10 of 10 rows .*the model has 256 positions"):
        build(small, tmp_path, method="sdpo_feedback", feedback_max_chars=300)
