"""Scoring on a model that is not on the CPU: every tensor is made where the model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cepo.scoring as scoring
import cepo.scoring.forward as forward
from cepo.scoring import Forwards, Images, OtherImages, ScoreRow, count_forwards, score
from cepo.scoring.logits import logits_map
from cepo.scoring.probe import own_logps
from cepo.scoring.weights import Teacher
from tests.elsewhere import DEVICE, Elsewhere, elsewhere, move
from tests.scoring.test_exact import text_model, text_rows
from tests.scoring.test_logits import Renamed, model_of


def eager(model: Any) -> Any:
    """torch's own sdpa makes its masks in C++, where nothing of ours can be watched."""
    model.set_attn_implementation("eager")
    return model


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
        table = torch.tensor([[1, 2], [3, 4], [5, 6]], device=DEVICE)
        assert table[[2, 0]].tolist() == [[5, 6], [1, 2]]
        table[[1]] = table[[0]]
        assert table[[0, 1], [1, 0]].tolist() == [2, 1]
        with pytest.raises(RuntimeError, match="same device"):
            table[[1]] = torch.zeros(1, 2)


@pytest.mark.parametrize("quantity", ["logp", "entropy"])
@pytest.mark.parametrize("kind", ["llama", "mistral-sliding"])
def test_text_is_scored_where_the_model_is(kind: str, quantity: Any) -> None:
    model: Any = move(eager(text_model(kind)))
    with elsewhere():
        assert score(model, text_rows(2), width=32, quantity=quantity).device == DEVICE
        assert own_logps(model, text_rows(1)[0], 1.0, None).device == DEVICE


def test_what_a_model_does_to_its_logits_is_measured_where_it_is() -> None:
    model: Any = move(eager(model_of(Renamed, text_model("llama").config)))
    with elsewhere():
        three = torch.full((1,), 3.0, device=DEVICE)
        Renamed.change = staticmethod(lambda z: z * three)
        assert logits_map(model).scale == pytest.approx(3.0)


def test_images_go_where_the_ids_are() -> None:
    other = OtherImages({"pixels": torch.zeros(1, 1)}, {"token_type_ids": torch.ones(1, 2, dtype=torch.long)})
    with elsewhere():
        ids = torch.zeros(1, 6, dtype=torch.long, device=DEVICE)
        for image in (other, Images(torch.zeros(1, 1), torch.ones(1, 3, dtype=torch.long))):
            assert {value.device for value in forward.vision_inputs([image], ids, 3).values()} == {DEVICE}


def test_padding_is_weighed_against_what_a_forward_costs_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven hundred tokens of padding: less than a launch, but for a CPU on which a layer costs next to nothing."""
    rows = [ScoreRow([5] * 10, []), ScoreRow([5] * 710, [])]
    assert count_forwards(text_model("llama"), rows) == Forwards(0, 1)
    monkeypatch.setattr(scoring, "WORTH_A_LAYER_CPU", 1.0)
    assert count_forwards(text_model("llama"), rows) == Forwards(0, 2)
    with elsewhere():
        assert count_forwards(move(text_model("llama")), rows) == Forwards(0, 1)


def test_a_teacher_of_a_checkpoint_lies_where_the_model_is(tmp_path: Path) -> None:
    teacher, net = Teacher("frozen"), nn.Linear(2, 2)
    teacher.start(net)
    teacher.save(tmp_path)
    with elsewhere():
        teacher.load(tmp_path, move(net))
        with teacher.in_place(net):
            assert net.weight.device == DEVICE


def test_a_mask_made_on_the_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = forward._right_padded

    def here(*args: Any) -> tuple[Tensor, Tensor]:
        ids, mask = padded(*args)
        return ids.cpu(), mask

    monkeypatch.setattr(forward, "_right_padded", here)
    model: Any = move(eager(text_model("llama")))
    with elsewhere(), pytest.raises(RuntimeError, match="same device"):
        score(model, text_rows(1), width=32)
