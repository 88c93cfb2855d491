"""Which model is asked: the transformers one, whatever stands around it or in its layers."""

from __future__ import annotations

from peft import LoraConfig, get_peft_model

from cepo.scoring.models import causal_model
from tests.scoring.test_exact import assert_exact, image_rows, text_model, vision_model

LORA = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)


def test_the_model_within_peft_is_asked() -> None:
    model = text_model("llama")
    assert causal_model(model) is model
    assert causal_model(get_peft_model(model, LORA)) is model


def test_a_model_with_an_adapter_of_transformers_own_is_asked_itself() -> None:
    model = text_model("llama")
    model.add_adapter(LORA)
    assert causal_model(model) is model


def test_images_under_an_adapter_have_their_positions() -> None:
    model, processor = vision_model()
    assert_exact(get_peft_model(model, LORA).eval(), image_rows(processor, 1, size=1), processor.image_token_id)
