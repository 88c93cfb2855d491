"""The output layer read in parts: which layers are, and that parts change no number."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from cepo.scoring.head import Reading, _by_columns, _by_rows, _is_plain
from cepo.scoring.logits import LogitsMap
from tests.scoring.test_exact import text_model
from tests.scoring.test_precision import PackedHead


@pytest.mark.parametrize("columns", [1, 7, 50, 64])
def test_every_token_has_its_own_log_prob_wherever_the_vocabulary_is_cut(columns: int) -> None:
    torch.manual_seed(0)
    layer, target_C = nn.Linear(8, 50), torch.arange(50)
    hidden_CD, reading = 3 * torch.randn(50, 8), Reading(0.7)
    expected = (layer(hidden_CD) / 0.7).log_softmax(-1).diagonal()
    torch.testing.assert_close(_by_columns(hidden_CD, target_C, layer, columns, reading), expected)
    torch.testing.assert_close(_by_rows(hidden_CD, target_C, layer, reading), expected)


def test_a_whole_matrix_of_numbers_is_read_by_columns_and_nothing_else() -> None:
    plain = nn.Linear(4, 6)
    adapted = get_peft_model(text_model("llama"), LoraConfig(r=2, target_modules=["lm_head"]))
    assert _is_plain(plain)
    assert not _is_plain(PackedHead(plain))
    assert not _is_plain(adapted.get_output_embeddings())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("cap", [None, 4.0])
def test_the_temperature_divides_what_the_model_made_of_its_logits(
    temperature: float, scale: float, cap: float | None
) -> None:
    given = torch.tensor([-1.0, 0.0, 4.0])
    made = scale * given if cap is None else cap * (scale * given / cap).tanh()
    torch.testing.assert_close(Reading(temperature, logits_map=LogitsMap(scale, cap)).logits(given), made / temperature)
