"""Scoring on a model that is not on the CPU: every tensor is made where the model is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cepo.scoring import score
from cepo.scoring.logits import logits_map
from cepo.scoring.probe import own_logps
from cepo.scoring.weights import Teacher
from tests.elsewhere import DEVICE, Elsewhere, elsewhere, move
from tests.scoring.test_exact import image_rows, text_model, text_rows, vision_model


def test_the_second_device_is_one() -> None:
    with elsewhere():
        there, here = torch.zeros(3, device=DEVICE), torch.zeros(3)
        assert there.device == DEVICE
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="same device"):
            torch.cat([here, there])
        assert (there + torch.tensor(2.0)).tolist() == [2.0] * 3
        assert (there + here.to(DEVICE)).cpu().device.type == "cpu"
        assert isinstance(torch.tensor([1, 2], device=DEVICE), Elsewhere)
        assert torch.tensor([1, 2], device=DEVICE)[torch.tensor([True, False])].tolist() == [1]


def eager(model: Any) -> Any:
    """torch's own sdpa makes its masks in C++, where nothing of ours can be watched."""
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("quantity", ["logp", "entropy"])
@pytest.mark.parametrize("kind", ["llama", "mistral-sliding"])
def test_text_is_scored_where_the_model_is(kind: str, quantity: Any) -> None:
    expected = score(text_model(kind), text_rows(2), width=32, quantity=quantity)
    model = move(eager(text_model(kind)))
    with elsewhere():
        found = score(model, text_rows(2), width=32, quantity=quantity)
        assert found.device == DEVICE
        torch.testing.assert_close(found.cpu(), expected)
        assert own_logps(model, text_rows(1)[0], 1.0, None).device == DEVICE
        assert logits_map(model).scale == 1.0


def test_images_are_scored_where_the_model_is() -> None:
    model, processor = vision_model()
    rows, token = image_rows(processor, 2, groups=2, size=2), processor.image_token_id
    expected = score(model, rows, width=24, image_token_id=token)
    moved = move(eager(model))
    with elsewhere():
        torch.testing.assert_close(score(moved, rows, width=24, image_token_id=token).cpu(), expected)


def test_bf16_weights_and_teachers_copies_stay_where_the_model_is() -> None:
    model: Any = move(eager(text_model("llama").to(torch.bfloat16)))
    teacher = Teacher("ema", ema_rate=0.5)
    with elsewhere():
        teacher.start(model)
        teacher.after_step(model)
        with teacher.disturbed(), teacher.in_place(model):
            found = score(model, text_rows(1), width=32)
        assert found.device == DEVICE
        assert all(parameter.device == DEVICE for parameter in model.parameters())
