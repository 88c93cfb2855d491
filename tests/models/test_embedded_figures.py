"""The figures model as it is built: a panel is one image token, a number one token, and what is saved comes back."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from cepo.data.rows import figure_row
from cepo.evaluate.generate import encode_prompts
from cepo.figures.drawing import picture
from cepo.figures.problems import generate
from cepo.figures.wording import solution, words
from cepo.lab.noisy import vocabulary
from cepo.models.embedded_figures import build_figures_model, build_figures_processor
from cepo.models.loading import load_checkpoint


@pytest.fixture(scope="module")
def built() -> tuple[Any, Any]:
    processor = build_figures_processor(vocabulary(words()))
    return build_figures_model(processor), processor


def test_every_number_is_one_token(built: tuple[Any, Any]) -> None:
    tokenizer = built[1].tokenizer
    for figure in generate("train", 10):
        text = solution(figure, figure.work(), Random(0))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces = [tokenizer.decode([token]) for token in ids]
        assert "".join(pieces) == text
        assert tokenizer.unk_token_id not in ids
        assert [piece for piece in pieces if piece.isdecimal()] == [p for p in pieces if p[0].isdecimal()]


def test_it_is_small_sees_nine_panels_and_comes_back(built: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = built
    assert model.num_parameters() < 1e6
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    rows = [figure_row(one, 0) | {"images": [picture(one, Random(0)).convert("RGB")]} for one in generate("train", 2)]
    logits = []
    for net, prepare in ((model, processor), load_checkpoint(tmp_path, dtype="float32")):
        inputs = encode_prompts(prepare, [rows[0]])
        assert (inputs["input_ids"] == prepare.image_token_id).sum() == 9
        with torch.no_grad():
            logits.append(net(**inputs).logits)
            other = net(**inputs | {"pixel_values": encode_prompts(prepare, [rows[1]])["pixel_values"]}).logits
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[1], other)  # it sees the picture
