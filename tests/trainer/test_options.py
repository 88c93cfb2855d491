"""TRL's settings under every kind of method: honoured, or refused in one sentence before anything is made."""

from __future__ import annotations

import dataclasses
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from docs.make_trl_options import page
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM, TrainingArguments
from trl import GRPOConfig

from cepo import CEPOConfig, CEPOTrainer, accuracy_reward
from cepo.trainer.options import HONOURED, OPTIONS, REFUSALS
from tests.trainer.conftest import MakeTrainer

METHODS = ("grpo", pytest.param("rlsd", marks=pytest.mark.long), "cepo", "opsd", "sdpo")
KINDS = {"rules": ("rlsd", "cepo"), "distillations": ("opsd", "sdpo")}


def spread(completions: Any, **_: Any) -> list[float]:
    """Some reward that is never equal in a group."""
    return [0.01 * sum(map(ord, completion[0]["content"])) % 1.0 for completion in completions]


@pytest.fixture
def make(make_text_trainer: MakeTrainer, text_rows: list[dict[str, Any]]) -> MakeTrainer:
    """With live groups, and data to evaluate on."""
    evaluation = Dataset.from_list(text_rows[:4])
    return partial(make_text_trainer, reward_funcs=[accuracy_reward, spread], eval_dataset=evaluation)


def test_every_setting_of_trl_is_in_the_table_and_the_page_is_written_from_it() -> None:
    of_transformers = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {field.name for field in dataclasses.fields(GRPOConfig)} - of_transformers == set(OPTIONS)
    assert {refusal.field for refusals in REFUSALS.values() for refusal in refusals} <= set(OPTIONS)
    assert (Path(__file__).parents[2] / "docs" / "trl_options.md").read_text() == page()


PLAIN: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False}

REFUSED = [
    (method, refusal.field, refusal.example, refusal.why, {})
    for kind, methods in KINDS.items()
    for method in methods
    for refusal in REFUSALS[kind]
] + [
    ("cepo", refusal.field, refusal.example, refusal.why, {ours: 1})
    for ours in ("skip_dead_groups", "resample_dead_groups")
    for refusal in REFUSALS[ours]
]


@pytest.mark.parametrize(("method", "field", "value", "why", "ours"), REFUSED)
def test_what_would_be_silently_wrong_is_refused(
    method: str, field: str, value: object, why: str, ours: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{field}={value!r} cannot be used: ")) as caught:
        CEPOConfig(str(tmp_path), method=method, **PLAIN, **{field: value}, **ours)
    assert str(caught.value).endswith(why)
    CEPOConfig(str(tmp_path), method="grpo", **PLAIN, **{field: value})


HONOURED_TOGETHER: dict[str, dict[str, Any]] = {
    "generation": {"temperature": 0.9, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.05,
                   "pad_to_multiple_of": 8, "shuffle_dataset": False, "mask_truncated_completions": True,
                   "max_completion_length": 28, "disable_dropout": True, "max_steps": 2},
    "reuse": {"num_iterations": 2, "max_steps": 3, "epsilon": 0.1, "epsilon_high": 0.3, "reward_weights": [1.0, 0.5]},
    "windows": {"steps_per_generation": 2, "gradient_accumulation_steps": 2, "max_steps": 2, "scale_rewards": "none",
                "generation_kwargs": {"do_sample": True}},
    "head": {"cast_lm_head_to_fp32": True, "log_completions": True, "num_completions_to_print": 1,
             "eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4, "num_generations_eval": 4},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("together", HONOURED_TOGETHER)
def test_what_is_honoured_trains(method: str, together: str, make: MakeTrainer) -> None:
    trainer = make(method=method, **HONOURED_TOGETHER[together])
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    after = list(trainer.model.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    if "eval_strategy" in HONOURED_TOGETHER[together]:
        assert any("eval_reward" in entry for entry in trainer.state.log_history)


OF_THE_POLICY_LOSS: dict[str, dict[str, Any]] = {
    "reference": {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1, "use_bias_correction_kl": False},
    "entropy": {"entropy_coef": 0.01, "top_entropy_quantile": 0.5, "delta": 2.0},
    "adaptive": {"use_adaptive_entropy": True, "entropy_coef_delta": 0.01, "entropy_target": 9.0},
    "grpo": {"loss_type": "grpo"}, "dr_grpo": {"loss_type": "dr_grpo"},
    "cispo": {"loss_type": "cispo"}, "sapo": {"loss_type": "sapo", "sapo_temperature_neg": 1.1},
}  # fmt: skip


@pytest.mark.long
def test_terms_of_the_policy_loss_reach_the_update(make: MakeTrainer) -> None:
    """Each changes what is learnt, and all in another way (bnpo is dapo where one process does not accumulate)."""
    updates = []
    for fields in ({}, *OF_THE_POLICY_LOSS.values()):
        trainer = make(method="cepo", max_steps=2, num_iterations=2, temperature=2.0, **fields)  # of unlike lengths
        trainer.train()
        updates.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    for number, update in enumerate(updates):
        same = [other for other in range(number) if torch.equal(update, updates[other])]
        assert not same, (list(OF_THE_POLICY_LOSS)[number - 1], same)


def test_the_data_may_stand_where_trl_has_them(make_text_trainer: MakeTrainer, text_rows: list[dict[str, Any]]) -> None:
    trainer = make_text_trainer(Dataset.from_list(text_rows[:8]))
    assert len(trainer.train_dataset) == 8
    with pytest.raises(TypeError, match="multiple values"):
        CEPOTrainer("tiny-text", accuracy_reward, trainer.args, [], train_dataset=[])


def test_a_router_loss_is_neither_left_out_nor_changed(make: MakeTrainer) -> None:
    config = Qwen3MoeConfig(
        vocab_size=256, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=1,
        head_dim=16, num_attention_heads=2, num_key_value_heads=1, num_experts=4, num_experts_per_tok=2,
        router_aux_loss_coef=0.001, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    for fields in ({"method": "opsd"}, {"skip_dead_groups": True}):
        with pytest.raises(ValueError, match=r"set router_aux_loss_coef: 0\.0$"):
            make(model=Qwen3MoeForCausalLM(config), **fields)


def test_the_processor_has_the_models_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def load(_: str, *, revision: str | None = None, **__: object) -> object:
        asked.append(revision)
        raise RuntimeError("enough")

    monkeypatch.setattr("cepo.trainer.starting.load_processor", load)
    config = CEPOConfig(str(tmp_path / "run"), model_init_kwargs={"revision": "v2"}, **PLAIN)
    with pytest.raises(RuntimeError, match="enough"):
        CEPOTrainer("somebody/model", accuracy_reward, config)
    assert asked == ["v2"]


def test_an_uncorrected_mismatch_is_said(tmp_path: Path) -> None:
    for fields, said in (({}, 1), ({"vllm_importance_sampling_correction": False}, 0)):
        with warnings.catch_warnings(record=True) as caught:
            CEPOConfig(str(tmp_path), method="opsd", use_vllm=True, **PLAIN, **fields)
        words = "does not read vllm_importance_sampling_correction"
        assert sum(words in str(warning.message) for warning in caught) == said


def test_most_settings_are_honoured() -> None:
    assert sum(option.rules == HONOURED for option in OPTIONS.values()) > 60
