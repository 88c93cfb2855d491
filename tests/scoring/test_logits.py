"""Logits that a model changes after its output layer: scaled or capped ones are scored as they are, others refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaForCausalLM,
)

from cepo.errors import ModelError
from cepo.scoring import score
from cepo.scoring.logits import LogitsMap, logits_map
from tests.scoring.test_exact import SIZES, assert_exact, plain, text_model, text_rows


def model_of(kind: type, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():  # logits large enough for a cap to bend them
        model.get_output_embeddings().weight.mul_(40)
    return model


CASES: dict[str, tuple[type, Any]] = {
    "granite": (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=6.0)),
    "gemma 2": (Gemma2ForCausalLM, Gemma2Config(**SIZES, final_logit_softcapping=4.0)),
    "cohere": (CohereForCausalLM, CohereConfig(**SIZES, logit_scale=0.0625)),
    "falcon h1": (FalconH1ForCausalLM, FalconH1Config(**SIZES, lm_head_multiplier=0.3, mamba_d_ssm=32, mamba_n_heads=4,
                  mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_scaled_and_capped_logits_are_scored_as_the_model_has_them(name: str) -> None:
    model = model_of(*CASES[name])
    rows = text_rows(groups=1)
    assert_exact(model, rows, temperature=0.7)
    found = score(model, rows, width=32, quantity="entropy")
    ids = torch.tensor([[*rows[0].prompt_ids, *rows[0].completion_ids]])
    start = len(rows[0].prompt_ids) - 1
    logp = model(ids).logits.float().log_softmax(-1)[0, start : start + len(rows[0].completion_ids)]
    torch.testing.assert_close(found[0, : len(logp)], -(logp.exp() * logp).sum(-1).detach(), atol=1e-4, rtol=1e-4)


class Renamed(LlamaForCausalLM):
    """Logits changed under names that stand on no list."""

    change: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = type(self).change(output.logits)
        return output


def test_what_a_model_does_is_measured_whatever_it_is_called() -> None:
    for change, expected in (
        (lambda z: z, LogitsMap()),
        (lambda z: z * 3, LogitsMap(3.0)),
        (lambda z: 5 * (z / 5).tanh(), LogitsMap(1.0, 5.0)),
        (lambda z: 2 * (5 * (z / 5).tanh()), LogitsMap(2.0, 10.0)),
        (lambda z: 20 * (0.176 * z / 20).tanh(), LogitsMap(0.176, 20.0)),  # Muse Spark: a cap of 100 times the scale
    ):
        model = model_of(Renamed, text_model("llama").config)
        Renamed.change = staticmethod(change)
        found = logits_map(model)
        assert found.scale == pytest.approx(expected.scale, rel=1e-6)
        assert found.cap == (expected.cap and pytest.approx(expected.cap, rel=1e-6))
        torch.testing.assert_close(score(model, text_rows(1), width=32), plain(model, text_rows(1), 32, None),
                                   atol=1e-5, rtol=1e-5)  # fmt: skip


def test_any_other_change_is_refused_with_the_model_named() -> None:
    for change in (lambda z: z + 0.01 * z.abs(), lambda z: z.clamp(-3, 3), lambda z: z - 2 * (z > 1), lambda z: z**3):
        model = model_of(Renamed, text_model("llama").config)
        Renamed.change = staticmethod(change)
        with pytest.raises(ModelError, match="Renamed changes its logits after the output layer"):
            score(model, text_rows(1), width=32)


def test_one_number_added_to_all_logits_is_no_change() -> None:
    model = model_of(Renamed, text_model("llama").config)
    Renamed.change = staticmethod(lambda z: z + 1.5)
    torch.testing.assert_close(score(model, text_rows(1), width=32), plain(model, text_rows(1), 32, None),
                               atol=1e-5, rtol=1e-5)  # fmt: skip
