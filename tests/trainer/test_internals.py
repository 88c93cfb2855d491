"""No image placeholder in a completion, however likely the model finds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from trl import GRPOTrainer

from cepo.trainer.generation import never_sample_an_image
from tests.trainer.conftest import MakeTrainer, embedded


def test_the_sampled_stream_of_trl_is_kept(make_trainer: MakeTrainer) -> None:
    """TRL bans the placeholder itself: what we ban is the same list."""
    trainer: Any = make_trainer(method="grpo")
    assert trainer.generation_config.suppress_tokens == [trainer.processing_class.image_token_id]


@pytest.mark.parametrize("method", ["grpo", "cepo"])
def test_a_list_of_the_users_own_does_not_let_it_through(method: str, make_trainer: MakeTrainer) -> None:
    model = embedded()
    trainer: Any = make_trainer(
        method=method, model=model, max_steps=1, generation_kwargs={"suppress_tokens": [90]}, max_completion_length=8
    )
    placeholder = trainer.processing_class.image_token_id

    def prefer_it(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits[..., placeholder] += 100.0
        return logits

    handle = cast(Any, model.lm_head).register_forward_hook(prefer_it)
    trainer.model.train()
    batch = GRPOTrainer._generate_and_score_completions(trainer, next(iter(trainer.get_train_dataloader())))
    assert not (batch["completion_ids"] == placeholder).any()
    assert not (batch["completion_ids"] == 90).any()
    handle.remove()


def test_vllm_is_told_by_name() -> None:
    vllm = SimpleNamespace(generation_kwargs={"bad_words": ["damn"], "seed": 1})
    trainer = SimpleNamespace(
        use_vllm=True, vllm_generation=vllm, processing_class=SimpleNamespace(image_token="<|image_pad|>")
    )
    never_sample_an_image(cast(Any, trainer), 5)
    assert vllm.generation_kwargs == {"bad_words": ["damn", "<|image_pad|>"], "seed": 1}


def test_a_model_without_images_is_left_alone() -> None:
    never_sample_an_image(cast(Any, SimpleNamespace()), None)
