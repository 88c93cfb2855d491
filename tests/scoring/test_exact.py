"""`score` against the plain forward: one row at a time, whole, unpadded, with all logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import cepo.scoring as scoring
import cepo.scoring.head as head
from cepo.models.embedded import EMBEDDED, build_model
from cepo.models.processor import load_processor
from cepo.scoring import Forwards, Images, ScoreRow, count_forwards, score
from cepo.scoring.forward import hidden_of_whole
from cepo.scoring.logits import logits_map
from cepo.scoring.plan import common_prefix, make_plan
from cepo.scoring.precision import scoring_in

VOCAB = 300
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
}  # fmt: skip


def text_model(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    if kind == "mistral-sliding":
        return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16)).eval()
    return Qwen3ForCausalLM(Qwen3Config(**SIZES)).eval()


def vision_model() -> tuple[Any, Any]:
    processor: Any = load_processor(str(EMBEDDED))
    model = build_model(processor, seed=1).eval()
    with torch.no_grad():  # random weights of the default size hardly react to anything
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model, processor


def plain(
    model: Any, rows: Sequence[ScoreRow], width: int, image_token: int | None, temperature: float = 1.0
) -> Tensor:
    """The oracle. `rope_deltas` is forgotten before each row, so that nothing of the last one is reused."""
    out = torch.zeros(len(rows), width)
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
            logp = (model(**inputs).logits.float() / temperature).log_softmax(-1)
        start = len(row.prompt_ids)
        for t, token in enumerate(row.completion_ids):
            out[index, t] = logp[0, start + t - 1, token]
    return out


def text_rows(groups: int = 3, size: int = 4) -> list[ScoreRow]:
    """Groups of rows: a shared prompt, references of different lengths (some none), a closing turn, completions."""
    rng = Random(0)
    ids = lambda n: [rng.randrange(5, VOCAB) for _ in range(n)]
    rows = []
    for group in range(groups):
        prompt, tail = ids(20 + 13 * group), ids(3)
        for _ in range(size):
            completion = ids(rng.randrange(1, 30))
            rows += [ScoreRow([*prompt, *block, *tail], completion, None, group) for block in (ids(4), ids(7), [])]
    return rows


def image_rows(processor: Any, images_per_prompt: int, groups: int = 3, size: int = 3) -> list[ScoreRow]:
    """The same with images of different sizes at the start of the prompt; one group has none."""
    rng = Random(1)
    ids = lambda n: [rng.randrange(10, VOCAB) for _ in range(n)]
    start, pad, end = (processor.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
                       ("vision_start", "image_pad", "vision_end"))  # fmt: skip
    rows = []
    for group in range(groups):
        grids = [(1, 2 + group, 4), (1, 4, 2)][:images_per_prompt] if group else []
        prompt = ids(4)
        for _, height, width in grids:
            prompt += [start, *[pad] * (height * width), end]
        prompt += ids(18)
        patches = sum(height * width for _, height, width in grids)
        images = Images(torch.randn(patches, 3 * 2 * 16 * 16), torch.tensor(grids)) if grids else None
        for _ in range(size):
            completion = ids(rng.randrange(2, 20))
            rows += [ScoreRow([*prompt, *block, 7, 8], completion, images, group) for block in (ids(3), ids(6), [])]
    return rows


def assert_exact(model: Any, rows: list[ScoreRow], image_token: int | None = None, **options: Any) -> None:
    width = max(len(row.completion_ids) for row in rows) + 2
    temperature = options.get("temperature", 1.0)
    expected = plain(model, rows, width, image_token, temperature)
    found = score(model, rows, width=width, image_token_id=image_token, **options)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral-sliding"])
@pytest.mark.parametrize("budget", [60, 400, 100_000])
def test_text_models(kind: str, budget: int) -> None:
    assert_exact(text_model(kind), text_rows(), tokens_per_forward=budget)


@pytest.mark.parametrize("budget", [60, 100_000])
def test_rows_on_either_side_of_what_longrope_turns_at(budget: int) -> None:
    """A forward with one row beyond it turns the positions of all: Phi-3 and Phi-4-mini beyond 4096 tokens."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 54,
            "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}  # fmt: skip
    torch.manual_seed(0)
    model = Phi3ForCausalLM(Phi3Config(**SIZES, rope_parameters=rope, pad_token_id=0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    rows = told_the_same(text_rows())
    assert 10 < sum(row.length > 54 for row in rows) < len(rows) - 10
    assert_exact(model, rows, tokens_per_forward=budget)
    own = plain(model, rows, 32, None)
    with scoring_in(model, "float32"):
        states = hidden_of_whole(model, rows[-9:], None)
    for row, state, own_T in zip(rows[-9:], states, own[-9:], strict=True):
        ids = torch.tensor(row.completion_ids)
        found_T = model.lm_head(state).log_softmax(-1).gather(1, ids[:, None])[:, 0]
        torch.testing.assert_close(found_T.detach(), own_T[: len(ids)], atol=1e-5, rtol=0)


def told_the_same(rows: list[ScoreRow]) -> list[ScoreRow]:
    """The rows of each group, with the prompts of its first three only; one group is told nothing, or a prefix."""
    prompts: dict[Any, list[Sequence[int]]] = {}
    for row in rows:
        prompts.setdefault(row.group, []).append(row.prompt_ids)
    shared = {group: [own[0], own[1], own[2][:-2]] for group, own in prompts.items()}
    return [
        ScoreRow(shared[row.group][index % 3], row.completion_ids, row.images, row.group)
        for index, row in enumerate(rows)
    ]


@pytest.mark.parametrize("budget", [60, 200, 400, 100_000])
def test_stems_are_encoded_once(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "WORTH_A_FORWARD_CPU", 1)
    rows = told_the_same(text_rows())
    assert_exact(text_model("llama"), rows, tokens_per_forward=budget)
    made = make_plan(rows, budget, None, launch=1)
    assert any(batch.stems for batch in made.shared) == (budget > 60)
    for batch in made.shared:
        assert len(set(batch.stems.values())) in (0, 3 * len(batch.prefixes))
    model, processor = vision_model()
    assert_exact(
        model, told_the_same(image_rows(processor, 1)), processor.image_token_id, tokens_per_forward=max(budget, 150)
    )


def test_stems_that_save_less_than_a_forward_are_not_encoded_apart() -> None:
    rows = told_the_same(text_rows())
    assert not any(batch.stems for batch in make_plan(rows, 8192, None).shared)
    long = [ScoreRow([*range(5, 25), *[3] * 400, 7 + index % 2, 9], [4], None, 0) for index in range(6)]
    (batch,) = make_plan(long, 8192, None).shared
    assert batch.stems == {}, "the references' ids differ in their last tokens alone: the prefix has them"
    long = [ScoreRow([*range(5, 25), 7 + index % 2, *[3] * 400, 9], [4], None, 0) for index in range(6)]
    (batch,) = make_plan(long, 8192, None).shared
    assert batch.stems == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0, 5: 1}
    assert make_plan(long, 8192, None).forwards == Forwards(0, 3)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("budget", [60, 100_000])
def test_qwen3_vl_with_images_of_several_sizes(images: int, budget: int) -> None:
    model, processor = vision_model()
    rows = image_rows(processor, images)
    assert make_plan(rows, budget, processor.image_token_id).shared
    assert_exact(model, rows, processor.image_token_id, tokens_per_forward=budget)


def test_text_goes_on_from_where_its_own_images_end() -> None:
    """Images of four heights in one forward: the larger ones take more positions."""
    model, processor = vision_model()
    assert_exact(model, image_rows(processor, 1, groups=5, size=1)[3:], processor.image_token_id)


def test_the_last_prompts_offset_is_not_reused() -> None:
    model, processor = vision_model()
    model.model.rope_deltas = torch.tensor([[-40]])
    assert_exact(model, image_rows(processor, 1), processor.image_token_id)


def test_an_image_after_the_reference_is_scored_whole() -> None:
    model, processor = vision_model()
    rows = [
        ScoreRow([*[9] * 20, 10 + i, *row.prompt_ids], row.completion_ids, row.images, row.group)
        for i, row in enumerate(image_rows(processor, 1)[9:])
    ]
    assert not make_plan(rows, 1000, processor.image_token_id).shared
    assert count_forwards(model, rows, image_token_id=processor.image_token_id).without == 0
    assert_exact(model, rows, processor.image_token_id)


def test_lora_and_temperature_and_train_mode() -> None:
    model = get_peft_model(
        text_model("llama"), LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    ).eval()
    assert_exact(model, text_rows(), temperature=0.7)
    model.train()
    found = score(model, text_rows(), width=32)
    assert model.training
    model.eval()
    torch.testing.assert_close(found, plain(model, text_rows(), 32, None), atol=1e-5, rtol=0)


@pytest.mark.parametrize("vision", [False, True])
def test_bf16_weights_are_scored_in_fp32_and_left_as_they_were(vision: bool) -> None:
    if vision:
        model, processor = vision_model()
        rows, token = image_rows(processor, 1), processor.image_token_id
    else:
        model, rows, token = text_model("qwen3"), text_rows(), None
    model = model.to(torch.bfloat16)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = score(model, rows, width=40, image_token_id=token)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, before[name])
    coarse = score(model, rows, width=40, image_token_id=token, precision="bfloat16")
    expected = plain(model.float(), rows, 40, token)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (coarse - expected).abs().max() > 1e-3


def test_equal_references_give_exactly_equal_log_probs() -> None:
    rows = text_rows()
    twice = [row for row in rows for _ in range(2)]
    model = text_model("llama")
    logp_BT = score(model, twice, width=32)
    assert torch.equal(logp_BT[::2], logp_BT[1::2])
    assert count_forwards(model, twice, tokens_per_forward=200) == count_forwards(model, rows, tokens_per_forward=200)


def test_prefixes_are_encoded_once() -> None:
    model, processor = vision_model()
    rows = image_rows(processor, 1)
    encoded: list[int] = []
    model.model.visual.register_forward_hook(lambda module, args, out: encoded.append(len(args[0])))
    score(model, rows, width=40, image_token_id=processor.image_token_id)
    once = {row.group: len(row.images.pixel_values) for row in rows if row.images is not None}
    assert sum(encoded) == sum(once.values())


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("adapted", [False, True])
def test_no_logits_beyond_a_chunk(adapted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = SIZES | {"vocab_size": 20_000}
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    if adapted:
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["lm_head"])).eval()
    rows = text_rows(groups=2)
    tokens = sum(len(row.completion_ids) for row in rows)
    monkeypatch.setattr(head, "LOGITS_PER_CHUNK_CPU", 20_000 * 16)
    with Largest() as largest:
        score(model, rows, width=32)
    weights = 20_000 * sizes["hidden_size"]
    assert largest.numel <= max(weights, 20_000 * 16) < 20_000 * tokens / 4


@pytest.mark.parametrize("vision", [False, True])
def test_forwards_are_counted_and_filled_up(vision: bool) -> None:
    if vision:
        model, processor = vision_model()
        rows, token = image_rows(processor, 1), processor.image_token_id
    else:
        model, rows, token = text_model("llama"), text_rows(), None
    logits_map(model)  # measured once, in a forward of its own
    ran: list[str] = []
    model.model.register_forward_hook(lambda *_: ran.append("text"))
    if vision:
        model.model.visual.register_forward_hook(lambda *_: ran.append("images"))
    budget = 60 if vision else 200  # prefixes with images go apart: all of them still come first
    options: Any = {"width": 40, "tokens_per_forward": budget, "image_token_id": token}
    counted = count_forwards(model, rows, tokens_per_forward=budget, image_token_id=token)
    expected = score(model, rows, **options)
    assert (ran.count("images"), len(ran) - 2 * ran.count("images")) == counted
    assert (counted.with_images > 1) == vision
    wanted = Forwards(counted.with_images + 2 * vision, counted.without + 3)
    for given in (rows, []):
        ran.clear()
        again = score(model, given, forwards=wanted, **options)
        assert ran == ["images", "text"] * wanted.with_images + ["text"] * wanted.without
        assert torch.equal(again, expected[: len(given)])


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 2
    assert common_prefix([[1], [2]]) == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ScoreRow([], [1]), "row 0 to score has an empty prompt"),
        (ScoreRow([1], [1] * 9), "9 completion tokens, but width is 8"),
        (ScoreRow([1], [1], Images(torch.zeros(1, 1), torch.ones(1, 3))), "image_token_id"),
    ],
)
def test_bad_rows_are_named(row: ScoreRow, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(text_model("llama"), [row], width=8)


def test_a_completion_may_be_as_long_as_the_width() -> None:
    row = ScoreRow([5, 6], [7] * 8)
    assert torch.equal(score(text_model("llama"), [row], width=8), score(text_model("llama"), [row], width=9)[:, :8])


def test_unknown_precision_is_refused() -> None:
    precision: Any = "fp8"
    with pytest.raises(ValueError, match="'fp8'"):
        score(text_model("llama"), text_rows(), width=32, precision=precision)


def test_an_output_layer_with_a_bias_under_lora() -> None:
    model = text_model("llama")
    model.lm_head = torch.nn.Linear(SIZES["hidden_size"], VOCAB, bias=True)
    adapter = LoraConfig(r=4, target_modules=["v_proj", "lm_head"], init_lora_weights=False)
    model = get_peft_model(model, adapter).eval()
    assert_exact(model, text_rows())
    model = model.to(torch.bfloat16)
    found = score(model, text_rows(), width=32)
    torch.testing.assert_close(found, plain(model.float(), text_rows(), 32, None), atol=1e-5, rtol=0)


def test_the_plan_of_weights_that_lie_elsewhere_is_that_of_whole_ones() -> None:
    """As ZeRO-3 leaves them between forwards: no numbers here, and how many there are in all."""
    model, rows = text_model("llama"), text_rows()
    whole = count_forwards(model, rows)
    for parameter in model.parameters():
        sharded: Any = parameter
        sharded.ds_numel = parameter.numel()
        parameter.data = torch.empty(0)
    assert count_forwards(model, rows) == whole


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """What accelerate keeps for the process is of other settings, once another test has trained in it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_autocast_of_a_prepared_model_is_taken_off_and_put_back(fresh_accelerate: None) -> None:
    prepared: Any = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(text_model("llama"))
    forward = prepared.forward
    found = score(prepared, text_rows(), width=32)
    assert prepared.forward == forward
    torch.testing.assert_close(found, plain(text_model("llama"), text_rows(), 32, None), atol=1e-5, rtol=0)


def test_an_autocast_within_the_model_is_refused() -> None:
    model = text_model("llama")
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    with pytest.raises(ValueError, match="autocast"):
        score(model, text_rows(), width=32)


@pytest.mark.parametrize(("precision", "switch"), [("float32", "ieee"), ("tf32", "tf32")])
def test_tf32_is_switched_for_the_block_only(precision: Any, switch: str) -> None:
    matmul: Any = torch.backends.cuda.matmul
    original = matmul.fp32_precision
    try:
        for before in ("ieee", "tf32"):
            matmul.fp32_precision = before
            with scoring_in(text_model("llama"), precision):
                assert matmul.fp32_precision == switch
            assert matmul.fp32_precision == before
    finally:
        matmul.fp32_precision = original


@pytest.mark.parametrize(
    ("dtype", "precision", "switch"),
    [(torch.bfloat16, "bfloat16", "tf32"), (torch.float32, "bfloat16", "ieee"), (torch.bfloat16, "float32", "ieee")],
)
def test_the_output_layer_of_16_bits_has_tf32_products(
    dtype: torch.dtype, precision: Any, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are exact: 8 and 11 bits of such numbers are no more than TF32 has."""
    matmul: Any = torch.backends.cuda.matmul
    seen, read = [], head._read
    monkeypatch.setattr(head, "_read", lambda *words: seen.append(matmul.fp32_precision) or read(*words))
    original = matmul.fp32_precision
    try:
        matmul.fp32_precision = "ieee"
        score(text_model("llama").to(dtype), text_rows(), width=32, precision=precision)
        assert set(seen) == {switch}
        assert matmul.fp32_precision == "ieee"
    finally:
        matmul.fp32_precision = original


def test_flash_attention_gives_way_to_sdpa() -> None:
    model = text_model("llama")
    model.config._attn_implementation = "flash_attention_2"  # not installed here: running it would fail
    found = score(model, text_rows(), width=32)
    assert model.config._attn_implementation == "flash_attention_2"
    torch.testing.assert_close(found, plain(text_model("llama"), text_rows(), 32, None), atol=1e-5, rtol=0)
