"""Entropy of the student's distribution at each token against a plain forward, by columns and by rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

import cepo.scoring.head as head
from cepo.scoring import ScoreRow, score
from cepo.scoring.head import Reading, _by_columns, _by_rows
from tests.scoring.test_exact import image_rows, plain, text_model, text_rows, vision_model


def plain_entropy(
    model: Any, rows: Sequence[ScoreRow], width: int, image_token: int | None, temperature: float = 1.0
) -> Tensor:
    """-sum p log p in float64, one row at a time, whole, with all logits."""
    out = torch.zeros(len(rows), width, dtype=torch.float64)
    for index, row in enumerate(rows):
        ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if row.images is not None:
            inputs |= {"pixel_values": row.images.pixel_values, "image_grid_thw": row.images.grid_thw}
            inputs["mm_token_type_ids"] = (ids == image_token).long()
        for module in model.modules():
            if hasattr(module, "rope_deltas"):
                module.rope_deltas = None
        with torch.no_grad():
            logp = (model(**inputs).logits[0].double() / temperature).log_softmax(-1)
        start = len(row.prompt_ids)
        for t in range(len(row.completion_ids)):
            out[index, t] = -(logp[start + t - 1].exp() * logp[start + t - 1]).sum()
    return out


def check(model: Any, rows: list[ScoreRow], image_token: int | None = None, temperature: float = 1.0) -> None:
    width = max(len(row.completion_ids) for row in rows) + 2
    expected = plain_entropy(model, rows, width, image_token, temperature)
    found = score(
        model, rows, width=width, temperature=temperature, image_token_id=image_token, tokens_per_forward=200,
        quantity="entropy",
    )  # fmt: skip
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    lengths = torch.tensor([len(row.completion_ids) for row in rows])
    assert not found[torch.arange(width) >= lengths[:, None]].any(), "padding is 0"


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("columns", [7, 2**11], ids=["columns in pieces", "all columns"])
def test_text_by_columns(columns: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "COLUMNS_PER_CHUNK_CPU", columns)
    monkeypatch.setattr(head, "LOGITS_PER_CHUNK_CPU", columns * 5)
    check(sharper(text_model("llama")), text_rows(), temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_by_rows_under_an_adapter(temperature: float) -> None:
    """An adapter on the output layer: whole rows of logits."""
    adapter = LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False)
    check(get_peft_model(sharper(text_model("llama")), adapter).eval(), text_rows(), temperature=temperature)


def test_with_images() -> None:
    model, processor = vision_model()
    check(model, image_rows(processor, 1), processor.image_token_id, temperature=0.8)


def test_of_an_output_layer_with_a_bias() -> None:
    model = sharper(text_model("llama"))
    layer = nn.Linear(model.lm_head.in_features, model.lm_head.out_features, bias=True)
    layer.weight.data, layer.bias.data = model.lm_head.weight.data, torch.linspace(-3, 3, layer.out_features)
    model.lm_head = layer
    check(model, text_rows())


def sharper(model: Any) -> Any:
    """Of a random model's nearly flat distributions nothing could be told apart."""
    with torch.no_grad():
        model.lm_head.weight.mul_(40.0)
    return model


def test_it_is_no_log_prob() -> None:
    model, rows = sharper(text_model("llama")), text_rows()
    entropy = score(model, rows, width=40, quantity="entropy")
    assert entropy.std() > 0.1
    assert (entropy >= 0).all()
    assert (entropy + plain(model, rows, 40, None)).abs().max() > 0.5


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_both_ways_are_alike_for_any_logits(scale: float, temperature: float) -> None:
    """Also where the largest logit comes last, and where all the mass is on one token."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 50, bias=False)
    hidden_CD = torch.randn(6, 8) * scale
    order = (hidden_CD[0] @ layer.weight.T).argsort()
    layer.weight.data = layer.weight.data[order]  # row 0's logits ascend, row 1's are whatever
    target_C = torch.zeros(6, dtype=torch.long)
    reading = Reading(temperature, "entropy")
    by_rows = _by_rows(hidden_CD, target_C, layer, reading)
    wide_CV = (layer(hidden_CD).double() / temperature).log_softmax(-1)
    exact = torch.special.entr(wide_CV.exp()).sum(-1)
    for columns in (1, 7, 50, 64):
        by_columns = _by_columns(hidden_CD, target_C, layer, columns, reading)
        torch.testing.assert_close(by_columns.double(), exact, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(by_columns, by_rows, atol=1e-4, rtol=1e-4)
    if scale == 1e5:
        assert by_rows.max() < 1e-3


def test_of_even_logits_it_is_the_log_of_the_vocabulary() -> None:
    layer = nn.Linear(4, 37, bias=False)
    layer.weight.data.zero_()
    found = _by_columns(torch.randn(3, 4), torch.zeros(3, dtype=torch.long), layer, 10, Reading(0.7, "entropy"))
    assert found.tolist() == pytest.approx([math.log(37)] * 3)
