"""The trainer against TRL's own, and the promises of its hook."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

import cepo.trainer.grading as grading
import cepo.trainer.scorer as scorer
import cepo.trainer.trainer as module
from cepo.answers import pool, verdict
from cepo.data.rewards import accuracy_reward, format_reward
from cepo.reports.traces import read_traces
from tests.trainer.conftest import SETTINGS, MakeTrainer, embedded, parameters


def one_batch(trainer: Any) -> dict[str, Any]:
    """The trainer's first generated batch."""
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    return trainer._generate_and_score_completions(inputs)


@pytest.fixture(scope="module")
def trl_parameters(tmp_path_factory: Any, dataset: Dataset, processor: Any) -> dict[str, torch.Tensor]:
    config = GRPOConfig(output_dir=str(tmp_path_factory.mktemp("trl")), **SETTINGS)
    trainer = GRPOTrainer(embedded(), [accuracy_reward], config, train_dataset=dataset, processing_class=processor)
    trainer.train()
    return parameters(trainer)


@pytest.mark.parametrize("fields", [{"method": "grpo"}, {"method": "cepo", "credit_strength": 0.0}])
def test_containment_is_bitwise_trl(
    fields: dict[str, Any], make_trainer: MakeTrainer, trl_parameters: dict[str, torch.Tensor]
) -> None:
    trainer = make_trainer(**fields)
    start = parameters(trainer)
    trainer.train()
    after = parameters(trainer)
    assert any(not torch.equal(start[name], after[name]) for name in after), "nothing was learnt: a vacuous comparison"
    assert all(torch.equal(trl_parameters[name], after[name]) for name in after)


@pytest.mark.parametrize("method", ["cepo", "rlsd"])
def test_credit_changes_the_update_within_its_bound(
    method: str, make_trainer: MakeTrainer, trl_parameters: dict[str, torch.Tensor]
) -> None:
    trainer = make_trainer(method=method)
    trainer.train()
    after = parameters(trainer)
    assert any(not torch.equal(trl_parameters[name], after[name]) for name in after)
    logged = trainer.state.log_history[0]
    for name in ("credit/lambda", "credit/multiplier_mean", "credit/rows_scored", "credit/groups_undecided"):
        assert name in logged
    records = list(read_traces(trainer.args.run_folder / "traces"))
    assert {record.step for record in records} == {1, 2}
    credited = [record for record in records if record.evidence is not None]
    assert credited
    for record in credited:
        advantage = torch.tensor(record.advantage)
        bound = record.strength * record.clip * abs(record.base_advantage)
        assert ((advantage - record.base_advantage).abs() <= bound + 1e-4).all()
        assert (advantage.sign() == (1 if record.base_advantage > 0 else -1)).all()


def test_batch_keys_and_shapes(make_trainer: MakeTrainer) -> None:
    batch = one_batch(make_trainer())
    assert set(batch) == {
        "prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch",
        "pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images",
    }  # fmt: skip
    assert batch["advantages"].shape == batch["completion_ids"].shape


def test_dead_groups_and_lambda_zero_cost_no_forward(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    real = scorer.score

    def counting(model: Any, rows: Any, **options: Any) -> Any:
        scored.append(len(rows))
        return real(model, rows, **options)

    monkeypatch.setattr(scorer, "score", counting)

    def equal(completions: Any, **_: Any) -> list[float]:
        return [1.1] * len(completions)

    dead = one_batch(make_trainer(reward_funcs=[equal]))
    assert scored == []
    assert dead["advantages"].dim() == 1
    one_batch(make_trainer(credit_strength=0.0))
    assert scored == []
    one_batch(make_trainer(trace_groups=0))
    assert len(scored) == 1


def test_all_wrong_groups_get_no_credit_from_format(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    impossible = Dataset.from_list([row | {"answer": "98765"} for row in rows])

    def shorter(completions: Any, **_: Any) -> list[float]:
        return [float(len(completion[0]["content"])) for completion in completions]

    batch = one_batch(make_trainer(train_dataset=impossible, reward_funcs=[accuracy_reward, shorter]))
    assert batch["advantages"].dim() == 1
    assert (batch["advantages"] != 0).any()


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient_accumulation_steps": 2},
        {"num_iterations": 2, "max_steps": 3},
        {"bf16": True, "max_steps": 1},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"])},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"]), "teacher_weights": "base"},
        {"teacher_weights": "ema"},
        {"teacher_weights": "synced", "teacher_sync_every": 1},
        {"reference_minus": "marginal"},
        {"reference_form": "rationale"},
        {"prompt_style": "prefill"},
        {"preset": "paper"},
        {"preset": "released-code"},
    ],
    ids=lambda fields: "-".join(map(str, fields)),
)
def test_it_trains_with(fields: dict[str, Any], make_text_trainer: MakeTrainer) -> None:
    trainer = make_text_trainer(**fields)
    trainer.train()
    history = trainer.state.log_history
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert any("credit/evidence_abs_mean_pos" in entry or "credit/evidence_abs_mean_neg" in entry for entry in history)


@pytest.mark.parametrize("weights", [pytest.param("live", marks=pytest.mark.long), "ema"])
def test_resume_equals_uninterrupted(weights: str, make_text_trainer: MakeTrainer, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "teacher_weights": weights}
    whole = make_text_trainer(output_dir=str(tmp_path / "whole"), **fields)
    whole.train()
    resumed = make_text_trainer(output_dir=str(tmp_path / "whole"), **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    a, b = parameters(whole), parameters(resumed)
    assert all(torch.equal(a[name], b[name]) for name in a)
    lambdas = [
        [entry["credit/lambda"] for entry in t.state.log_history if "credit/lambda" in entry] for t in (whole, resumed)
    ]
    assert lambdas[0][-2:] == lambdas[1][-2:]
    assert lambdas[0][-1] == pytest.approx(0.5 * (1 - 3 / 25))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "ceppo"}, "did you mean 'cepo'"),
        ({"preset": "papper"}, "unknown preset"),
        ({"importance_sampling_level": "sequence"}, "sequence-level"),
        ({"loss_type": "luspo"}, "defined on sequences"),
        ({"off_policy_mask_threshold": 1.0}, "one advantage per sequence"),
        ({"num_generations": 1}, "at least 2"),
        ({"credit_clip": 1.0}, "eps_w"),
        ({"credit_strength": 1.5}, "1.5"),
        ({"teacher_weights": "base"}, "LoRA"),
        ({"answer_column": "gold"}, "no column 'gold'"),
        ({"wrong_reward": "nope"}, "names no reward"),
        ({"max_completion_length": 1000}, "Shorten"),
    ],
)
def test_refusals_come_before_generation(fields: dict[str, Any], words: str, make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match=words):
        make_trainer(**fields)


def test_bad_rewards_and_answers_are_found_at_the_start(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    def broken(completions: Any, **_: Any) -> list[float]:
        raise KeyError("price")

    with pytest.raises(RuntimeError, match="broken"):
        make_trainer(reward_funcs=[broken])
    empty = Dataset.from_list([row | {"answer": "" if index == 3 else row["answer"]} for index, row in enumerate(rows)])
    with pytest.raises(ValueError, match="row 3"):
        make_trainer(train_dataset=empty)


def test_unwritable_folder(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="run folder"):
        make_trainer(output_dir=str(tmp_path / "file" / "run"))


# --- the run's grading ------------------------------------------------------------------------------------

OPEN_GOLD = r"\sum_{k=1}^{10} k\cdot k"


def canned(trainer: Any, texts: list[str]) -> None:
    """Completions from a list instead of the model's, in turn."""

    def generate(prompt_ids: Any, images: Any, fields: Any, count: Any, has_tool_images: bool = False) -> Any:
        said = (texts * len(prompt_ids))[: len(prompt_ids)]
        return [trainer.tokenizer(f"{text}<|im_end|>")["input_ids"] for text in said], None

    trainer._generate_single_turn = generate


def told_and_credited(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, Any], list[int], Any]:
    """One batch: what each row is told, which rows get credit, and the groups."""
    found: dict[str, Any] = {}

    def keep(where: Any, name: str) -> None:
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *given: found.setdefault(name, real(*given)))

    for where, name in ((module, "row_references"), (module, "credited_rows"), (grading, "gather_groups")):
        keep(where, name)
    one_batch(trainer)
    return found["row_references"], [row.index for row in found["credited_rows"]], found["gather_groups"]


def test_a_format_is_rewarded_extracted_and_told(
    make_trainer: MakeTrainer, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accuracy_reward` handed over plain grades as the config says; boxes are no answers under `tags`."""
    data = Dataset.from_list([row | {"answer": "7"} for row in rows])
    trainer = make_trainer(
        answer_format="tags", train_dataset=data, reward_funcs=[accuracy_reward, format_reward], trace_groups=0
    )
    canned(trainer, ["<answer>7</answer>", r"\boxed{7}", "<answer>8</answer> so", r"<answer>9</answer>"])
    told, credited, groups = told_and_credited(trainer, monkeypatch)
    assert [rollout.correct for rollout in groups.groups[0].rollouts] == [True, False, False, False]
    assert [rollout.reward for rollout in groups.groups[0].rollouts] == [2.0, 0.0, 0.0, 1.0]
    assert {text for one in told.values() for text in one["minus"].texts} == {"8", "9"}
    assert 0 in credited
    assert trainer.reward_func_names == ["accuracy_reward", "format_reward"]


def test_late_verdicts_are_counted_and_decide_nothing(
    make_trainer: MakeTrainer, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def starved(worker: Any, question: bytes, timeout_s: float) -> bool:
        asked.append(question)
        raise pool.Late

    data = Dataset.from_list([row | {"answer": OPEN_GOLD} for row in rows])
    trainer = make_trainer(train_dataset=data, trace_groups=0)
    canned(trainer, [rf"\boxed{{{OPEN_GOLD}}}", r"\boxed{\sum_{k=1}^{10} k^2}", r"\boxed{7}", r"\boxed{8}"])
    monkeypatch.setattr(pool.Worker, "ask", starved)
    verdict._remembered.clear()
    told, credited, groups = told_and_credited(trainer, monkeypatch)
    assert [rollout.correct for rollout in groups.groups[0].rollouts] == [True, None, False, False]
    assert {text for one in told.values() for text in one["minus"].texts} == {"7", "8"}
    assert credited == [0, 2, 3, 4, 6, 7]
    # Asked once for the reward and once for the credit, however many rows ask the same, each with a second try.
    assert trainer._metrics["train"]["reward/grader_timeouts"] == [2.0]
    assert len(asked) == 4


def test_a_reward_that_would_grade_otherwise_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match=r"hand over cepo[.]accuracy_reward itself"):
        make_trainer(answer_format="tags", reward_funcs=[functools.partial(accuracy_reward)])


def test_a_gold_answer_that_the_format_cuts_is_refused(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    data = Dataset.from_list([rows[0] | {"answer": "a. b"}, *rows[1:]])
    with pytest.raises(ValueError, match="answer_format='phrase' reads 'a' where it stands"):
        make_trainer(answer_format="phrase", train_dataset=data)
