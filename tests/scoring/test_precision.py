"""fp32 that is fp32: weights that a parent reads, packed weights, attention without sdpa, and all put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from cepo.errors import ModelError
from cepo.scoring import score
from cepo.scoring.precision import in_fp32, scoring_in
from tests.scoring.test_exact import SIZES, plain, text_model, text_rows, vision_model
from tests.scoring.test_shards import Status

FOUR: dict[str, Any] = {**SIZES, "num_hidden_layers": 4}

LAYERS: dict[str, tuple[type, Any]] = {
    "qwen 3.5": (Qwen3_5ForCausalLM, Qwen3_5TextConfig(**FOUR, linear_num_key_heads=2,
                 linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8)),
    "mamba": (MambaForCausalLM, MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8)),
    "qwen 3 moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2,
                   moe_intermediate_size=32, decoder_sparse_step=1)),
}  # fmt: skip


def bf16_of(name: str) -> tuple[Any, Any]:
    """(the model with bf16 weights, the same weights in fp32)."""
    kind, config = LAYERS[name]
    torch.manual_seed(0)
    model, exact = kind(config).eval(), kind(config).eval()
    for parameter in model.parameters():  # as `dtype=torch.bfloat16` loads them: rotary buffers stay fp32
        parameter.data = parameter.data.bfloat16()
    exact.load_state_dict(model.state_dict())
    return model, exact


@pytest.mark.parametrize("name", LAYERS)
def test_weights_that_a_parent_reads_are_fp32_too(name: str) -> None:
    model, exact = bf16_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = score(model, text_rows(1), width=32, precision="float32")
    torch.testing.assert_close(found, plain(exact, text_rows(1), 32, None), atol=2e-5, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


class Table(nn.Embedding):
    """Of shares as of numbers: Ovis 2's words for pictures."""

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight if input.is_floating_point() else super().forward(input)


def test_a_table_that_is_given_shares_is_fp32_too() -> None:
    def made() -> Any:
        model = text_model("llama")
        model.model.norm = nn.Sequential(model.model.norm, nn.Softmax(dim=-1), Table(32, 32))
        return model

    torch.manual_seed(0)
    model, exact = made(), made()
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    exact.load_state_dict(model.state_dict())
    found = score(model, text_rows(1), width=32, precision="float32")
    torch.testing.assert_close(found, plain(exact, text_rows(1), 32, None), atol=2e-5, rtol=0)


def test_adapters_on_the_experts_parameters() -> None:
    model, exact = bf16_of("qwen 3 moe")
    lora = LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"],
                      init_lora_weights=False)  # fmt: skip
    found, wanted = get_peft_model(model, lora), get_peft_model(exact, lora)
    wanted.load_state_dict(found.state_dict())
    torch.testing.assert_close(score(found, text_rows(1), width=32, precision="float32"),
                               plain(wanted, text_rows(1), 32, None), atol=2e-5, rtol=0)  # fmt: skip


class Reader(nn.Module):
    """Reads a part's weight beside running it, on a number of 16 bits; and looks how many bits the others have."""

    def __init__(self, others: nn.Module, exact: bool) -> None:
        super().__init__()
        self.inner, self.exact = nn.Linear(32, 32), exact
        self.seen, self._others = set[torch.dtype](), [others]

    def forward(self, x: Tensor) -> Tensor:
        self.seen |= {parameter.dtype for parameter in self._others[0].parameters()}
        given = x.bfloat16()
        return F.linear(self.inner(given.float() if self.exact else given), self.inner.weight)


def test_a_whole_layer_is_turned_while_it_runs_and_no_other() -> None:
    torch.manual_seed(0)
    exact, model = text_model("llama"), text_model("llama")
    for one in (exact, model):
        one.model.layers[1].mlp = Reader(one.model.layers[0], exact=one is exact)
    model = model.to(torch.bfloat16)
    exact.load_state_dict(model.state_dict())
    found = score(model, text_rows(1), width=32, precision="float32")
    torch.testing.assert_close(found, plain(exact, text_rows(1), 32, None), atol=1e-3, rtol=0)
    assert model.model.layers[1].mlp.seen == {torch.bfloat16}


def test_what_lies_on_other_processes_is_not_turned() -> None:
    """As ZeRO-3 has it: between its gathering and its giving up a parameter's numbers are here."""
    whole, gathered, left = (nn.Parameter(torch.ones(2, dtype=torch.bfloat16)) for _ in range(3))
    for parameter, status in ((gathered, Status.AVAILABLE), (left, Status.NOT_AVAILABLE)):
        zero: Any = parameter
        zero.ds_status = status
    with in_fp32([whole, gathered, left]):
        assert [one.dtype for one in (whole, gathered, left)] == [torch.float32, torch.float32, torch.bfloat16]
    assert {one.dtype for one in (whole, gathered, left)} == {torch.bfloat16}


class Packed(nn.Parameter):
    """As bitsandbytes' Params4bit with bf16 storage: the numbers are codes, two weights in a byte."""


class FourBits(nn.Module):
    """A linear layer whose weight is stored as indices into 16 values, 4 of them in one bf16 number's two bytes."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.scale = linear.weight.abs().max().item()
        codes = ((linear.weight.detach() / self.scale + 1) * 7.5).round().to(torch.uint8).flatten()
        packed = (codes[::2] * 16 + codes[1::2]).contiguous().view(torch.bfloat16)
        self.weight = Packed(packed[:, None], requires_grad=False)
        self.shape = linear.weight.shape

    def forward(self, x: Tensor) -> Tensor:
        codes = self.weight.data.contiguous().view(torch.uint8).flatten()
        weight = torch.stack([codes // 16, codes % 16], dim=-1).flatten().to(x.dtype) / 7.5 - 1
        return F.linear(x, (weight * self.scale).view(self.shape))


def packed_model() -> Any:
    model = text_model("llama").to(torch.bfloat16)
    for layer in model.model.layers:
        layer.self_attn.q_proj = FourBits(layer.self_attn.q_proj)
        layer.mlp.down_proj = FourBits(layer.mlp.down_proj)
    return model


def test_packed_weights_of_four_bits_are_left_alone() -> None:
    found = score(packed_model(), text_rows(1), width=32, precision="float32")
    exact = packed_model()
    for parameter in exact.parameters():
        if not isinstance(parameter, Packed):
            parameter.data = parameter.data.float()
    torch.testing.assert_close(found, plain(exact, text_rows(1), 32, None), atol=2e-5, rtol=0)


class PackedHead(nn.Linear):
    """An output layer whose weight has another shape than it says, as bitsandbytes' has."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.weight = nn.Parameter(linear.weight.detach().reshape(-1, 1))

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.view(self.out_features, self.in_features))


def test_a_packed_output_layer_is_run_as_it_is() -> None:
    model, rows = text_model("llama"), text_rows(1)
    expected = plain(model, rows, 32, None)
    model.lm_head = PackedHead(model.lm_head)
    torch.testing.assert_close(score(model, rows, width=32), expected, atol=1e-5, rtol=0)


def test_models_without_sdpa_score_with_eager_attention() -> None:
    sinks = GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    torch.manual_seed(0)
    model = GptOssForCausalLM(sinks).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.sinks.fill_(2.0)
    expected = plain(model, text_rows(1), 32, None)
    model.config._attn_implementation = "flash_attention_3"  # not installed here: running it would fail
    found = score(model, text_rows(1), width=32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert model.config._attn_implementation == "flash_attention_3"


def test_each_part_gets_its_own_attention_back() -> None:
    model, _ = vision_model()
    model.config._attn_implementation = {"": "flash_attention_2", "text_config": "flash_attention_2",
                                         "vision_config": "eager"}  # fmt: skip
    parts = model.config, model.config.text_config, model.config.vision_config
    for part in parts[:2]:
        part._attn_implementation_internal = "flash_attention_2"
    parts[2]._attn_implementation_internal = "eager"
    with scoring_in(model, "tf32"):
        assert [part._attn_implementation for part in parts] == ["sdpa", "sdpa", "eager"]
    assert [part._attn_implementation for part in parts] == ["flash_attention_2", "flash_attention_2", "eager"]


def test_router_logits_are_not_asked_for() -> None:
    torch.manual_seed(0)
    config = MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model = MixtralForCausalLM(config).eval()
    expected = plain(model, text_rows(1), 32, None)
    model.config.output_router_logits = True
    found = score(model, text_rows(1), width=32)
    assert model.config.output_router_logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "adapter",
    [
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16),
    ],
    ids=["prompt", "prefix", "p"],
)
def test_virtual_tokens_are_refused(adapter: Any) -> None:
    model = get_peft_model(LlamaForCausalLM(text_model("llama").config), adapter)
    with pytest.raises(ModelError, match="puts virtual tokens before every prompt"):
        score(model, text_rows(1), width=32)
