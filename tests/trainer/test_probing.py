"""The probe of a run: before anything is generated, for every method that asks a teacher."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from torch import nn
from transformers import GPTNeoConfig, GPTNeoForCausalLM, Qwen3VLForConditionalGeneration

from cepo.errors import ModelError
from cepo.models.embedded import EMBEDDED
from cepo.scoring.weights import Teacher
from cepo.trainer.probing import Probing, as_long_as_completed, probe_rows
from tests.scoring.test_exact import text_model
from tests.scoring.test_probe import ROWS, unlike_its_start
from tests.trainer.conftest import MakeTrainer, embedded

METHODS = ["cepo", "rlsd", "opsd", "sdpo"]


class Bent(Qwen3VLForConditionalGeneration):
    """Logits changed in a way that is neither a scale nor a cap."""

    @wraps(Qwen3VLForConditionalGeneration.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits = output.logits + output.logits.abs() / 8
        return output


def load(kind: Any) -> Any:
    return kind.from_pretrained(EMBEDDED, dtype=torch.float32, attn_implementation="eager")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_asks_a_teacher_refuses_other_distributions(method: str, make_trainer: MakeTrainer) -> None:
    with pytest.raises(ModelError, match="Bent changes its logits after the output layer"):
        make_trainer(method=method, model=load(Bent))


def test_without_a_teacher_there_is_nothing_to_probe(make_trainer: MakeTrainer) -> None:
    make_trainer(method="grpo", model=load(Bent))


@pytest.mark.parametrize("method", METHODS)
def test_it_runs_on_a_problem_with_an_image_and_finds_agreement(method: str, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method=method, teacher_weights="ema")
    assert trainer.scorer.share
    rows = probe_rows(trainer.train_dataset, trainer.encoded, trainer.tokenizer, trainer.image_token_id)
    assert [row.group for row in rows] == [0, 0, 1, 1]
    assert all(row.images is not None and trainer.image_token_id in row.prompt_ids for row in rows)
    assert all(trainer.image_token_id not in row.completion_ids for row in rows)


def test_virtual_tokens_are_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(ModelError, match="peft_type=PROMPT_TUNING puts virtual tokens"):
        make_trainer(peft_config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))


class NoCache(Qwen3VLForConditionalGeneration):
    """Goes on from a cache with other positions than it is given."""

    @wraps(Qwen3VLForConditionalGeneration.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("past_key_values") is not None and kwargs["input_ids"].shape[1] > 1:
            kwargs["position_ids"] = kwargs["position_ids"] + 40
        return super().forward(*args, **kwargs)


def test_wrong_prefixes_mean_whole_rows_and_a_warning(make_trainer: MakeTrainer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make_trainer(model=load(NoCache))
    assert not trainer.scorer.share
    with pytest.warns(UserWarning, match="encoded again for every row, .* NoCache are off by"):
        trainer.probe()
    assert not trainer.scorer.share


def test_where_attention_reaches_less_far_than_a_run_the_probe_is_as_long() -> None:
    """GPT-Neo's local layers count places of the cache, those of padding too: short rows agree, long ones do not."""
    config = GPTNeoConfig(vocab_size=300, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["local"], 2]],
                          window_size=128, max_position_embeddings=512)  # fmt: skip
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(config).eval()
    unlike_its_start(model, 0.1)
    probing = Probing(None, 1.0, "float32", None)
    assert probing(model, ROWS).shares
    with pytest.warns(UserWarning, match="with one the log-probs of GPTNeoForCausalLM are off by"):
        assert not replace(probing, completion=200)(model, ROWS).shares
    assert as_long_as_completed(text_model("llama"), ROWS, 100) is ROWS


def test_a_copy_that_does_not_score_is_refused(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under sharding, where `parameter.data` is a placeholder that the forward does not read."""
    copied = Teacher.start

    def placeholders(self: Teacher, model: nn.Module) -> None:
        copied(self, model)
        self._shadow = {name: torch.empty(0) for name in self._shadow or {}}

    monkeypatch.setattr("cepo.scoring.weights._swap", lambda model, shadow: None)
    monkeypatch.setattr(Teacher, "start", placeholders)
    with pytest.raises(ModelError, match="teacher_weights='frozen' has no effect here"):
        make_trainer(teacher_weights="frozen", model=embedded())


@pytest.mark.parametrize("lora", [False, True])
def test_disturbed_copies_score_otherwise_and_come_back(lora: bool, make_trainer: MakeTrainer) -> None:
    options = {"peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"])} if lora else {}
    trainer = make_trainer(teacher_weights="frozen", **options)
    shadow: Any = trainer.teacher._shadow
    live = dict(trainer.policy.named_parameters())
    assert all(torch.equal(tensor, live[name]) for name, tensor in shadow.items())
