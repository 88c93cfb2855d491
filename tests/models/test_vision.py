"""A vision tower that is left as it is: found in every layout, never trained, without adapters."""

from __future__ import annotations

import re

import pytest
from peft import LoraConfig, get_peft_model

from cepo.errors import SettingError
from cepo.models.loading import load_checkpoint
from cepo.models.vision import adapters_outside, freeze_vision


def test_the_tower_is_frozen_and_nothing_else() -> None:
    model, _ = load_checkpoint("tiny-figures", dtype="float32")
    freeze_vision(model)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not any(asks for name, asks in trained.items() if ".visual." in name)
    assert all(asks for name, asks in trained.items() if ".visual." not in name)
    assert sum(".visual." in name for name in trained) > 10


def test_adapters_stand_outside_of_the_tower() -> None:
    model, _ = load_checkpoint("tiny-figures", dtype="float32")
    outside = adapters_outside(model)
    assert re.fullmatch(outside, "model.visual.blocks.0.attn.qkv")
    assert not re.fullmatch(outside, "model.language_model.layers.0.self_attn.q_proj")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", exclude_modules=outside))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained
    assert not [name for name in trained if ".visual." in name]


def test_a_text_model_has_no_tower() -> None:
    model, _ = load_checkpoint("tiny-text", dtype="float32")
    for ask in (freeze_vision, adapters_outside):
        with pytest.raises(SettingError, match="freeze_vision: Qwen3ForCausalLM has no vision tower"):
            ask(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
