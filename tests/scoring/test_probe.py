"""The probe: what agrees, what is scored whole, and what is refused with whom to blame."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    BltConfig,
    BltForCausalLM,
    HunYuanVLConfig,
    HunYuanVLForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    RobertaConfig,
    RobertaForCausalLM,
)

from cepo.errors import ModelError
from cepo.scoring import ScoreRow
from cepo.scoring.probe import BOUND, _sharing, probe
from tests.scoring.test_exact import SIZES, VOCAB, image_rows, text_model, text_rows, vision_model
from tests.scoring.test_precision import bf16_of, packed_model


def two_groups(rows: list[ScoreRow]) -> list[ScoreRow]:
    """Two rows of each of two groups whose prompts differ in length."""
    last = sorted({row.group for row in rows})[-2:]
    return [row for group in last for row in [row for row in rows if row.group == group][:2]]


ROWS = two_groups(text_rows())


def test_plain_models_agree_and_share() -> None:
    found = probe(text_model("llama"), ROWS, temperature=0.7)
    assert found.shares
    assert found.difference < BOUND
    assert not found.why_whole
    model, processor = vision_model()
    rows = two_groups(image_rows(processor, 1))
    found = probe(model, rows, image_token_id=processor.image_token_id)
    assert found.shares
    assert found.difference < BOUND


def test_models_with_another_cache_are_scored_whole_without_a_word() -> None:
    found = probe(text_model("mistral-sliding"), ROWS)
    assert not found.shares
    assert found.difference < BOUND
    assert not found.why_whole


def test_bf16_weights_agree() -> None:
    model, _ = bf16_of("qwen 3 moe")
    assert probe(model, ROWS).difference < BOUND
    assert probe(packed_model(), ROWS).difference < BOUND


def unlike_its_start(model: nn.Module, size: float) -> None:
    """Weights as training leaves them: at their start many say nothing yet, and positions would not matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))


def test_positions_of_the_models_own_fall_back_to_whole_rows() -> None:
    torch.manual_seed(0)
    model = MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=300, max_seq_len=512)).eval()
    unlike_its_start(model, 0.2)
    found = probe(model, ROWS)
    assert not found.shares
    assert found.difference < BOUND
    assert found.why_whole.startswith("with one the log-probs of MptForCausalLM are off by")


def test_a_model_that_takes_no_prefix_falls_back_to_whole_rows() -> None:
    model = text_model("llama")
    own = model.forward

    @wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        assert kwargs.get("past_key_values") is None, "no cache, please"
        return own(*args, **kwargs)

    model.forward = forward
    found = probe(model, ROWS)
    assert not found.shares
    assert found.why_whole == "LlamaForCausalLM cannot continue from one (AssertionError: no cache, please)"


class OddHead(nn.Linear):
    """An output layer that does more than its weights say."""

    def forward(self, x: Any) -> Any:
        return super().forward(x) * torch.linspace(0.5, 2.0, self.out_features)


def test_an_output_layer_that_is_not_its_weights_is_refused() -> None:
    vision, processor = vision_model()
    seen = two_groups(image_rows(processor, 1))
    for model, rows, token in ((text_model("llama"), ROWS, None), (vision, seen, processor.image_token_id)):
        head = OddHead(model.lm_head.in_features, model.lm_head.out_features, bias=False)
        head.weight = model.lm_head.weight
        model.lm_head = head
        name = type(model).__name__
        with pytest.raises(ModelError, match=rf"{name} .* differ from its own forward by up to .* nats in fp32 "
                                             rf"\(bound 1e-04\); they part in {name}.forward, after"):  # fmt: skip
            probe(model, rows, image_token_id=token)


@pytest.mark.parametrize(("off", "shares"), [(0.9, True), (1.1, False), (torch.nan, False)])
def test_prefixes_are_shared_within_the_bound_and_no_further(off: float, shares: bool) -> None:
    """It widens with the log-prob: 1e-4 nats at 0, and twice as much at -10."""
    own = [torch.tensor([0.0, -10.0])]
    shifts = [off * torch.tensor([BOUND, 0.0]), off * torch.tensor([0.0, 2 * BOUND])]
    for shift in shifts:
        found = _sharing(text_model("llama"), "Toy", lambda shift=shift: [own[0] + shift], own, own)
        assert found.shares == shares
        assert found.difference == pytest.approx(shift.abs().max().item() if shares else 0.0, rel=1e-2)
        assert bool(found.why_whole) != shares


def test_positions_that_are_not_ours_name_the_module() -> None:
    class Shifted(LlamaForCausalLM):
        """Stretches positions where all logits are asked for, as scoring does."""

        def forward(self, input_ids: Any, logits_to_keep: int = 0, **kwargs: Any) -> Any:
            positions = torch.arange(input_ids.shape[1])[None] * (1 if logits_to_keep else 3)
            return super().forward(input_ids, logits_to_keep=logits_to_keep, **kwargs | {"position_ids": positions})

    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"they part at its LlamaRotaryEmbedding\."):
        probe(Shifted(text_model("llama").config).eval(), ROWS)


class Stubborn(nn.Module):
    """A layer that rounds to bf16 whatever it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x.bfloat16().float())


def roberta(**fields: Any) -> Any:
    config = RobertaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           intermediate_size=64, pad_token_id=1, **fields)  # fmt: skip
    torch.manual_seed(0)
    model = RobertaForCausalLM(config).eval()
    unlike_its_start(model, 0.1)
    return model


def test_a_model_that_sees_what_it_predicts_is_refused() -> None:
    """Its log-probs are its own forward's, and say nothing: an encoder's, or PaliGemma's."""
    with pytest.raises(ModelError, match="RobertaForCausalLM sees the tokens that it predicts: another last token"):
        probe(roberta(is_decoder=False), ROWS)


def test_a_model_that_draws_at_random_is_refused() -> None:
    """Reformer's hashes, on rows longer than a chunk."""
    model = text_model("llama")
    own = model.model.norm.forward
    model.model.norm.forward = lambda states: own(states) + 0.1 * torch.randn_like(states)
    with pytest.raises(ModelError, match="LlamaForCausalLM gives other log-probs for the same tokens each time"):
        probe(model, ROWS)


def test_a_model_with_positions_of_its_own_is_scored_whole() -> None:
    found = probe(roberta(is_decoder=True), ROWS)
    assert not found.shares
    assert found.difference < BOUND


def test_half_precision_within_is_named() -> None:
    model = text_model("llama")
    model.model.layers[1].mlp = Stubborn(model.model.layers[1].mlp)
    with pytest.raises(ModelError, match="Stubborn of LlamaForCausalLM computes in half precision although "
                                         "credit_precision='tf32'"):  # fmt: skip
        probe(model, ROWS)
    assert probe(model, ROWS, precision="bfloat16").difference < BOUND


def test_attention_that_computes_something_else_in_fp32_is_refused() -> None:
    model = text_model("llama").to(torch.bfloat16)
    own = model.model.layers[0].self_attn.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output, weights = own(*args, **kwargs)
        return (output if output.dtype == torch.float32 else output * 0 - 8), weights

    model.model.layers[0].self_attn.forward = forward
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    with pytest.raises(ModelError, match="computes something else in fp32 than in the run's own precision"):
        probe(model, ROWS)


def test_a_model_that_fails_in_its_own_precision_is_refused_in_one_sentence() -> None:
    """Kimi K2.5 does not bring pixels to the dtype of its weights."""
    model = text_model("llama").to(torch.bfloat16)
    own = model.model.norm.forward

    def forward(states: Any) -> Any:
        if states.dtype != torch.float32:
            raise RuntimeError("expected floats")
        return own(states)

    model.model.norm.forward = forward
    with pytest.raises(ModelError, match="cannot compute in the run's own precision: RuntimeError: expected floats"):
        probe(model, ROWS)


@pytest.mark.parametrize("kind", [TypeError, ZeroDivisionError, ImportError])
def test_a_model_that_fails_is_refused_in_one_sentence(kind: type[Exception]) -> None:
    """Whatever its code raises: Qwen2.5-Omni's vision tower divides by zero, others ask for a package."""
    model = text_model("llama")
    own = model.forward

    @wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > 1:
            raise kind("one row at a time")
        return own(*args, **kwargs)

    model.forward = forward
    with pytest.raises(ModelError, match=f"the completions of LlamaForCausalLM cannot be scored: {kind.__name__}: one"):
        probe(model, ROWS)


def test_rows_that_depend_on_each_other_are_blamed_on_that() -> None:
    model = text_model("llama")
    own = model.model.forward

    @wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + len(output.last_hidden_state)
        return output

    model.model.forward = forward
    with pytest.raises(ModelError, match="a row alone agrees: its log-probs depend on the rows beside it"):
        probe(model, ROWS)


class Around(PreTrainedModel):
    """A whole text model inside, and no output layer of its own: NemotronH-Omni."""

    config_class = LlamaConfig
    base_model_prefix = "language_model"
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.language_model = LlamaForCausalLM(config)
        self.post_init()

    def forward(self, **kwargs: Any) -> Any:
        return self.language_model(**kwargs)


def test_the_output_layer_of_a_model_inside() -> None:
    torch.manual_seed(0)
    found = probe(Around(text_model("llama").config).eval(), ROWS)
    assert found.shares
    assert found.difference < BOUND
    model = text_model("llama")
    model.get_output_embeddings = lambda: None
    with pytest.raises(ModelError, match="LlamaForCausalLM names no output layer"):
        probe(model, ROWS)


@pytest.mark.parametrize("axes", [3, 4])
def test_positions_as_the_model_makes_them(axes: int) -> None:
    """M-RoPE in Qwen2.5-Omni's way, told from the ids alone, and in HunYuan-VL's, of four axes."""
    torch.manual_seed(0)
    model = omni() if axes == 3 else hunyuan()
    unlike_its_start(model, 0.1)
    found = probe(model, ROWS)
    assert found.shares
    assert found.difference < BOUND


def omni() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    tower = {"depth": 1, "hidden_size": 32, "num_heads": 4, "intermediate_size": 64, "out_hidden_size": 32}
    ears = {"encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "d_model": 32, "output_dim": 32}
    return Qwen2_5OmniThinkerForConditionalGeneration(
        Qwen2_5OmniThinkerConfig(
            text_config=SIZES | {"rope_parameters": rope}, vision_config=tower, audio_config=ears,
            image_token_index=290, video_token_index=291, audio_token_index=292, vision_start_token_id=293,
        )
    ).eval()  # fmt: skip


def hunyuan() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 1, 1]}
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4,
             "num_hidden_layers": 1, "out_hidden_size": 32, "text_hidden_size": 32}  # fmt: skip
    text = SIZES | {"rope_parameters": rope, "head_dim": 8}
    return HunYuanVLForConditionalGeneration(
        HunYuanVLConfig(text_config=text, vision_config=tower, image_token_id=290)
    ).eval()


def test_a_model_of_several_stacks_is_scored_whole() -> None:
    """BLT's config has no number of layers: its patcher, encoder, decoder and trunk have theirs."""
    part = SIZES | {"num_key_value_heads": 4, "num_hidden_layers": 1}
    both = part | {"hidden_size_global": 32}
    config = BltConfig(
        vocab_size=VOCAB, encoder_hash_byte_group_vocab=300, patcher_config=part, encoder_config=both,
        decoder_config=both, global_config=part,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BltForCausalLM(config).eval()
    unlike_its_start(model, 0.1)
    found = probe(model, ROWS)
    assert not found.shares
    assert found.difference < BOUND


def test_alibi_that_follows_the_mask_is_shared() -> None:
    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(hidden_size=32, n_head=4, n_layer=2, vocab_size=300)).eval()
    unlike_its_start(model, 0.2)
    found = probe(model, ROWS)
    assert found.difference < BOUND


def test_qwen_3_5_in_bf16() -> None:
    model = Qwen3_5ForCausalLM(Qwen3_5TextConfig(**SIZES)).to(torch.bfloat16)
    assert probe(model, ROWS).difference < BOUND
