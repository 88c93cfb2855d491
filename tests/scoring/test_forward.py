"""One forward's inputs and states: images in another layout than Qwen-VL's, and the states that a loss is taken of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from cepo.scoring import Forwards, OtherImages, ScoreRow, score
from cepo.scoring.forward import hidden_of_whole, vision_inputs
from tests.scoring.test_exact import image_rows, text_model, text_rows, vision_model

TYPES = "token_type_ids"


class Seeing(LlamaForCausalLM):
    """Adds what it sees to the embeddings of the tokens that are marked."""

    def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        embeds, pixels = self.get_input_embeddings()(input_ids), kwargs.pop("pixels", None)
        types = kwargs.pop(TYPES, None)
        if pixels is not None:
            embeds = embeds + types[..., None] * pixels.mean()
        return super().forward(inputs_embeds=embeds, **kwargs)


def seeing() -> tuple[Any, list[ScoreRow]]:
    """Two groups with an image each, and one without: what is marked are a prompt's third and fourth tokens."""
    torch.manual_seed(0)
    marked = {TYPES: torch.tensor([[0, 0, 1, 1]])}
    images: dict[Any, OtherImages] = {
        group: OtherImages({"pixels": torch.full((1, 2), 0.1 * (group + 1))}, marked) for group in (0, 1)
    }
    rows = [replace(row, images=images.get(row.group)) for row in text_rows(groups=3, size=2)]
    return Seeing(text_model("llama").config).eval(), rows


def own_states(model: Any, row: ScoreRow) -> Tensor:
    """Of a forward of this row alone, as its model is called."""
    ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
    inputs: dict[str, Any] = {}
    if isinstance(row.images, OtherImages):
        types = torch.zeros_like(ids)
        types[0, 2:4] = 1
        inputs = {**row.images.fields, TYPES: types}
    output = model(input_ids=ids, output_hidden_states=True, **inputs)
    return output.hidden_states[-1][0, len(row.prompt_ids) - 1 : -1]


def assert_alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [False, True])
def test_images_of_another_layout_are_seen_by_their_own_rows(share: bool) -> None:
    model, rows = seeing()
    found = score(model, rows, width=30, image_token_id=0, share=share)
    with torch.no_grad():
        for row, logp_T in zip(rows, found, strict=True):
            logp_TV = model.lm_head(own_states(model, row)).log_softmax(-1)
            expected = logp_TV.gather(1, torch.tensor(row.completion_ids)[:, None])[:, 0]
            torch.testing.assert_close(logp_T[: len(expected)], expected, atol=1e-5, rtol=0)


def test_the_states_of_completions_are_those_of_each_row_alone() -> None:
    text, other = (text_model("llama"), text_rows(2, 2)), seeing()
    for model, rows in (text, other):
        found = hidden_of_whole(model, rows, 0)
        assert_alike(found, [own_states(model, row) for row in rows])
        assert all(states.requires_grad for states in found)
    model, processor = vision_model()
    rows = image_rows(processor, 1)[::4]
    token = processor.image_token_id
    assert_alike(hidden_of_whole(model, rows, token), [hidden_of_whole(model, [row], token)[0] for row in rows])


def test_two_rows_of_another_layout_are_no_batch() -> None:
    _, rows = seeing()
    with pytest.raises(ValueError, match="go through the model a row at a time"):
        vision_inputs([rows[0].images, rows[-1].images], torch.zeros(2, 5, dtype=torch.long), None)


def test_a_process_that_is_to_see_as_others_do_needs_the_images_token() -> None:
    model, _ = vision_model()
    with pytest.raises(ValueError, match="this one was given no image_token_id"):
        score(model, [], width=8, forwards=Forwards(1, 0))
