"""What a rule reads beside log-probs, end to end: entropy, scores from outside, rows of equal rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import cepo.trainer.trainer as hook
from cepo.credit.rules import Credit, Inputs, Rule, credit_from, register
from cepo.credit.step import StepCredit
from cepo.data.scores import TokenReward
from cepo.errors import RewardError
from cepo.reports.traces import read_traces
from tests.trainer.conftest import MakeTrainer, parameters

pytestmark = pytest.mark.usefixtures("own_registrations")


def by_scores(inputs: Inputs) -> Credit:
    return credit_from(inputs, inputs.scores_BT)


def by_entropy(inputs: Inputs) -> Credit:
    mean_B1 = inputs.entropy_BT.mean(dim=1, keepdim=True)
    return credit_from(inputs, torch.where(inputs.mask_BT != 0, inputs.entropy_BT - mean_B1, 0.0))


def push(inputs: Inputs) -> Credit:
    """All right is good and all wrong is bad, whatever the group's mean says; the surer, the more."""
    credit = credit_from(inputs, torch.zeros(inputs.mask_BT.shape, device=inputs.mask_BT.device))
    sign_B1 = torch.where(inputs.verdict_B, 1.0, -1.0)[:, None]
    return replace(
        credit, advantage_BT=inputs.advantage_B[:, None] + sign_B1 * inputs.mask_BT / (1 + inputs.entropy_BT)
    )


SCORED = Rule("scored", "a test: scores from outside", (), by_scores, frozenset({"scores"}))
BOTH = Rule(
    "both", "a test", (), by_entropy, frozenset({"entropy", "scores", "pass_rate", "deviation", "reward", "verdict"})
)
PUSH = Rule("push", "a test", (), push, frozenset({"verdict", "entropy"}), acts_where_equal=True, keeps_sign=False)


def mark(completion_ids: list[int]) -> list[float]:
    """Scores that say which token they are of."""
    return [(7 * place + token) % 10 / 10 for place, token in enumerate(completion_ids)]


def by_turns(completions: Any, completion_ids: Any, **_: Any) -> list[float]:
    """Right and wrong by turns; every third row has no scores."""
    return [
        float(index % 2) if index % 3 == 2 else TokenReward(float(index % 2), tokens=mark(ids))
        for index, ids in enumerate(completion_ids)
    ]


def spans(completions: Any, **_: Any) -> list[float]:
    """0 in all, and 0.5 on each completion's first three characters."""
    return [TokenReward(0.0, spans=[(0, 3, 0.5)]) for _ in completions]


def steps_of(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], StepCredit]:
    """The trainer's first batch and what it credited."""
    seen: list[StepCredit] = []
    real = hook.assign_credit

    def keeping(*arguments: Any) -> StepCredit:
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(hook, "assign_credit", keeping)
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    torch.manual_seed(2)
    batch = trainer._generate_and_score_completions(inputs)
    (step,) = seen
    return batch, step


def ids_of(batch: dict[str, Any], row: int) -> list[int]:
    return batch["completion_ids"][row][batch["completion_mask"][row].bool()].tolist()


def plain_entropy(trainer: Any, batch: dict[str, Any]) -> Tensor:
    """Of each token, from all logits of a plain forward of TRL's own padded batch, (B, T), float64."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    names = ("pixel_values", "image_grid_thw", "mm_token_type_ids")
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=mask, **{name: batch[name] for name in names}).logits
    width = batch["completion_ids"].shape[1]
    logp = (logits[:, -width - 1 : -1].double() / trainer.temperature).log_softmax(-1)
    return -(logp.exp() * logp).sum(dim=-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_entropy_is_that_of_a_plain_forward(
    temperature: float, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(BOTH)
    trainer: Any = make_trainer(
        method="both", temperature=temperature, reward_funcs=[by_turns], wrong_reward="by_turns", trace_groups=0
    )
    batch, step = steps_of(trainer, monkeypatch)
    assert step.inputs is not None
    assert len(step.rows) > 3
    expected_BT = plain_entropy(trainer, batch)
    mask_BT = batch["completion_mask"].bool()
    assert expected_BT[mask_BT].std() > 0.05
    for place, row in enumerate(step.rows):
        found_T, keep_T = step.inputs.entropy_BT[place], mask_BT[row]
        torch.testing.assert_close(found_T[keep_T].double(), expected_BT[row][keep_T], atol=1e-5, rtol=0)
        assert not found_T[~keep_T].any()


def test_scores_of_reward_functions_reach_the_rule(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two functions that score tokens they add; rows that no function scored keep their base advantage."""
    register(BOTH)
    trainer: Any = make_trainer(
        method="both", reward_funcs=[by_turns], wrong_reward="by_turns", per_device_train_batch_size=16
    )
    batch, step = steps_of(trainer, monkeypatch)
    assert step.inputs is not None
    assert list(step.rows) == [row for row in range(16) if row % 3 != 2]
    for place, row in enumerate(step.rows):
        ids = ids_of(batch, row)
        scores = step.inputs.scores_BT[place]
        assert scores[: len(ids)].tolist() == pytest.approx(mark(ids))
        assert not scores[len(ids) :].any()
    assert step.inputs.reward_B.tolist() == [float(row % 2) for row in step.rows]
    assert step.inputs.verdict_B.tolist() == [bool(row % 2) for row in step.rows]
    assert step.inputs.pass_rate_B.tolist() == [0.5] * len(step.rows)
    # What divides A (TRL adds 1e-4): A = (R - mean) / deviation.
    advantage_B = (step.inputs.reward_B - 0.5) / (step.inputs.deviation_B + 1e-4)
    torch.testing.assert_close(step.inputs.advantage_B, advantage_B)
    for row in (2, 5, 8):
        assert len(set(batch["advantages"][row].tolist())) == 1


def test_scores_by_character_and_by_token_add(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    register(SCORED)
    trainer: Any = make_trainer(method="scored", reward_funcs=[by_turns, spans], wrong_reward="by_turns")
    batch, step = steps_of(trainer, monkeypatch)
    assert step.inputs is not None
    assert list(step.rows) == list(range(8)), "the second function scores every row"
    decode = trainer.tokenizer.decode
    for place, row in enumerate(step.rows):
        ids = ids_of(batch, row)
        marks = mark(ids) if row % 3 != 2 else [0.0] * len(ids)
        starts = [len(decode(ids[:index])) for index in range(len(ids))]
        expected = [own + 0.5 * (start < 3) for own, start in zip(marks, starts, strict=True)]
        assert step.inputs.scores_BT[place, : len(ids)].tolist() == pytest.approx(expected)


def test_scores_go_with_their_rows_when_groups_are_resampled(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh rollout has its own scores, on its own tokens, in the place of the dead one's."""
    register(SCORED)
    calls: list[int] = []

    def turns(completions: Any, completion_ids: Any, **_: Any) -> list[float]:
        """At first all are equal, and then every group has right and wrong ones."""
        calls.append(len(completions))
        first = len(calls) <= 2 and len(completions) == 16
        return [
            TokenReward(1.0 if first else float(index % 2), tokens=mark(ids))
            for index, ids in enumerate(completion_ids)
        ]

    trainer: Any = make_trainer(
        method="scored", reward_funcs=[turns], wrong_reward="turns", per_device_train_batch_size=16,
        resample_dead_groups=2,
    )  # fmt: skip
    calls.clear()
    calls.append(0)
    batch, step = steps_of(trainer, monkeypatch)
    assert trainer._metrics["train"]["resample/groups_replaced"] == [4.0]
    assert step.inputs is not None
    assert list(step.rows) == list(range(16))
    for place, row in enumerate(step.rows):
        ids = ids_of(batch, row)
        assert step.inputs.scores_BT[place, : len(ids)].tolist() == pytest.approx(mark(ids))


def test_a_function_that_scores_another_number_of_tokens_is_named(make_trainer: MakeTrainer) -> None:
    register(SCORED)

    def short(completions: Any, **_: Any) -> list[float]:
        return [TokenReward(float(index % 2), tokens=[1.0]) for index in range(len(completions))]

    trainer: Any = make_trainer(method="scored", reward_funcs=[short], wrong_reward="short")
    with pytest.raises(RewardError, match=r"reward 'short' scored 1 tokens of a completion that has \d+"):
        trainer.train()


@pytest.mark.parametrize("weights", ["live", "ema", "synced"])
def test_a_rule_without_prompts_trains_and_is_recorded(weights: str, make_trainer: MakeTrainer) -> None:
    """Nothing is asked of a teacher but the records' log-probs of the student."""
    register(SCORED)
    trainer: Any = make_trainer(
        method="scored", reward_funcs=[by_turns], wrong_reward="by_turns", teacher_weights=weights
    )
    start = parameters(trainer)
    trainer.train()
    after = parameters(trainer)
    assert any(not torch.equal(start[name], after[name]) for name in after)
    records = [record for record in read_traces(trainer.args.run_folder / "traces") if record.evidence is not None]
    assert records
    for record in records:
        assert set(record.logps) == {"student"}
        assert record.told == {}
        assert record.evidence == pytest.approx(mark(record.token_ids), abs=1e-3)


def test_a_rule_may_act_where_all_rewards_are_equal(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's advantages are 0 there, and so is its gradient."""

    def alike(completions: Any, **_: Any) -> list[float]:
        return [1.0] * len(completions)

    register(PUSH)
    plain = make_trainer(method="cepo", reward_funcs=[alike], wrong_reward="alike", max_steps=1)
    start = parameters(plain)
    plain.train()
    assert all(torch.equal(start[name], after) for name, after in parameters(plain).items())
    trainer: Any = make_trainer(method="push", reward_funcs=[alike], wrong_reward="alike", skip_dead_groups=True)
    batch, step = steps_of(trainer, monkeypatch)
    assert list(step.rows) == list(range(8))
    assert step.inputs is not None
    expected_BT = batch["completion_mask"] / (1 + step.inputs.entropy_BT)
    torch.testing.assert_close(batch["advantages"], expected_BT)
    monkeypatch.undo()
    trainer.train()
    assert any(not torch.equal(start[name], after) for name, after in parameters(trainer).items())
    logged = trainer.state.log_history[0]
    assert logged["credit/rows_scored"] == 1.0
    assert logged["credit/groups_undecided"] == 1.0
    assert all(value == value for value in logged.values()), "no number is nan"
