"""Which problems a step trains on: a band of pass rates, and a curriculum of the run's own history, resumed exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset

from cepo.errors import RunFolderError, SettingError
from cepo.trainer.config import CEPOConfig
from cepo.trainer.curriculum import COLUMN, STATE_FILE, Curriculum
from cepo.trainer.sampling import Sampling, with_row_numbers
from tests.pair import on_two
from tests.runs.small import write_model
from tests.trainer.small_text import build, problems


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


def by_problem(completions: list[Any], id: list[str], **_: Any) -> list[float]:
    """Of four rollouts so many are right as the problem's id says, modulo 5: a pass rate of its own."""
    return [float(row % 4 < int(name) % 5) for row, name in enumerate(id)]


FIELDS: dict[str, Any] = {"rewards": [by_problem], "wrong_reward": "by_problem", "per_device_train_batch_size": 8}


@pytest.fixture
def make(small: Path, tmp_path: Path) -> Callable[..., Any]:
    return lambda **fields: build(small, tmp_path, **{**FIELDS, "method": "grpo", **fields})


def trained_on(trainer: Any) -> list[list[str]]:
    """The ids of each step's problems, as they were trained on; call `train` afterwards."""
    steps: list[list[str]] = []
    credit = trainer._with_credit

    def watching(drawn: Any) -> Any:
        steps.append([row["id"] for row in drawn.inputs[::4]])
        return credit(drawn)

    trainer._with_credit = watching
    return steps


def test_groups_outside_of_the_band_are_replaced(make: Any) -> None:
    trainer = make(resample_dead_groups=8, pass_rate_low=0.5, pass_rate_high=0.5, max_steps=2)
    steps = trained_on(trainer)
    trainer.train()
    assert {int(name) % 5 for step in steps for name in step} == {2}, "half of the rollouts are right"
    log = trainer.state.log_history[0]
    assert log["resample/groups_in_band"] == 2.0
    assert log["resample/rows_generated"] >= 4.0
    plain, whole = (make(resample_dead_groups=2, max_steps=1, **band) for band in ({}, {"pass_rate_high": 0.99}))
    first, second = trained_on(plain), trained_on(whole)
    for one in (plain, whole):
        one.train()
    assert first == second, "all but the dead groups are in it"


@pytest.mark.parametrize("method", ["cepo", "grpo"])
def test_a_band_that_no_group_meets_ends_in_a_sentence(method: str, make: Any) -> None:
    data = Dataset.from_list([row for row in problems() if int(row["id"]) % 5 != 2])  # pyright: ignore[reportCallIssue, reportArgumentType]
    fields = {"resample_dead_groups": 2, "pass_rate_low": 0.5, "pass_rate_high": 0.6, "max_steps": 9}
    trainer = make(data=data, method=method, **fields)
    with pytest.raises(
        SettingError, match=r"no group of 3 generations in a row, with 2 tries each, .*\[0.5, 0.6\] \(the"
    ):
        trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pass_rate_low": 0.2}, "has nothing to act on: set resample_dead_groups, curriculum_rest or both"),
        ({"pass_rate_low": 0.8, "pass_rate_high": 0.2, "curriculum_rest": 1}, "its lower end first"),
        (
            {"pass_rate_low": 0.3, "pass_rate_high": 0.4, "curriculum_rest": 1},
            "no pass rate of groups of 4 lies between",
        ),
        ({"curriculum_rest": 3}, "set pass_rate_low and pass_rate_high"),
        ({"curriculum_rest": -1}, "curriculum_rest=-1 must be at least 0"),
        (
            {"curriculum_rest": 1, "pass_rate_low": 0.2, "wrong_reward": None, "answer_column": "gold"},
            "no column 'gold'",
        ),
    ],
)
def test_refusals(fields: dict[str, Any], words: str, make: Any) -> None:
    with pytest.raises(SettingError, match=words):
        make(**fields)


def test_a_stream_has_no_other_problems(make: Any) -> None:
    stream = problems().to_iterable_dataset()
    with pytest.raises(SettingError, match="curriculum_rest draws other problems by index: it needs a data set, not a"):
        make(curriculum_rest=1, pass_rate_low=0.2, data=stream)


# --- the curriculum ---------------------------------------------------------------------------------------


def test_problems_rest_and_wake() -> None:
    known = Curriculum(rest=2, low=0.25, high=0.75, problems=5)
    known.note([(0, 1.0), (1, 0.5), (2, 0.0)], step=3)
    assert known.resting(3) == set(), "the step that saw them"
    assert [known.resting(step) for step in (4, 5, 6)] == [{0, 2}, {0, 2}, set()]
    assert known.swapped([0, 1, 2], step=4, seed="s").keys() == {0, 2}
    assert set(known.swapped([0, 1, 2], step=4, seed="s").values()) == {3, 4}
    assert known.swapped([0, 1, 2, 3], step=4, seed="s") == {0: 4}, "one is awake and not in the step"
    known.note([(0, 0.5)], step=4)
    assert known.resting(5) == {2}
    known.note([(index, 1.0) for index in range(5)], step=5)
    assert known.awake(6) == [0, 1, 2, 3, 4], "where all rest, all are drawn from"


def test_a_checkpoint_knows_what_was_known_at_its_step(tmp_path: Path) -> None:
    known, resumed = (Curriculum(rest=9, low=0.25, high=0.75, problems=3) for _ in range(2))
    known.note([(0, 1.0)], step=1)
    known.note([(0, 0.5), (1, 1.0)], step=2)
    known.note([(1, 0.0)], step=2)
    known.save(tmp_path, step=1)
    resumed.load(tmp_path)
    assert resumed.resting(2) == {0}, "step 2 was being generated"
    known.save(tmp_path, step=2)
    resumed.load(tmp_path)
    assert resumed.resting(3) == {1}
    with pytest.raises(RunFolderError, match="is of 3 problems, the training data has 4"):
        Curriculum(rest=9, low=0.25, high=0.75, problems=4).load(tmp_path)


def test_it_leaves_out_what_is_too_easy_and_too_hard_and_resumes_exactly(make: Any, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "method": "cepo", "curriculum_rest": 9, "pass_rate_low": 0.25, "pass_rate_high": 0.5, "max_steps": 6,
        "resample_dead_groups": 1, "save_strategy": "steps", "save_steps": 3,
    }  # fmt: skip
    whole = make(**fields)
    steps = trained_on(whole)
    whole.train()
    for number, step in enumerate(steps):
        before = {name for earlier in steps[:number] for name in earlier}
        assert {int(name) % 5 for name in before.intersection(step)} <= {1, 2}, "the others rest once they were met"
    logged = [line for line in whole.state.log_history if "curriculum/groups_swapped" in line]
    assert sum(line["curriculum/groups_swapped"] for line in logged) > 0
    assert logged[-1]["curriculum/problems_resting"] > 0
    resumed = make(**fields)
    later = trained_on(resumed)
    checkpoint = tmp_path / "run" / "checkpoint-3"
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert later == steps[3:]
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    (checkpoint / STATE_FILE).unlink()
    with pytest.raises(RunFolderError, match="was written without curriculum_rest"):
        make(**fields).train(resume_from_checkpoint=str(checkpoint))


def test_two_processes_know_the_same(tmp_path: Path) -> None:
    """Each meets problems of its own; what either found too easy rests for both, and they draw no problem twice."""
    data = with_row_numbers(Dataset.from_list([{"prompt": str(index)} for index in range(12)]))  # pyright: ignore[reportCallIssue, reportArgumentType]
    config = CEPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, num_generations=2, per_device_train_batch_size=4,
        curriculum_rest=5, pass_rate_low=0.4, pass_rate_high=0.6,
    )  # fmt: skip

    def work(rank: int, folder: Path) -> tuple[set[int], list[int]]:
        logged: dict[str, float] = {}
        sampling = Sampling(
            config, data, Accelerator(cpu=True), 0, lambda rewards: rewards[:, 0],
            lambda drawn: [row[COLUMN] % 2 == 0 for row in drawn.inputs], logged.__setitem__,
        )  # fmt: skip
        planned = [data[index] for index in (2 * rank, 2 * rank + 1) for _ in range(2)]
        first = sampling(planned, lambda rows: cast(Any, SimpleNamespace(inputs=rows)), 0)
        assert first.inputs == planned, "nothing is known yet"
        again = sampling(planned, lambda rows: cast(Any, SimpleNamespace(inputs=rows)), 1)
        assert logged["curriculum/groups_swapped"] == 4.0
        return cast(Any, sampling.curriculum).resting(2), [row[COLUMN] for row in again.inputs[::2]]

    one, other = on_two(work, tmp_path / "two", seconds=60)
    assert (one.error, other.error) == ("", "")
    assert one.value[0] == other.value[0] == {0, 1, 2, 3}
    assert len({*one.value[1], *other.value[1]} - {0, 1, 2, 3}) == 4
