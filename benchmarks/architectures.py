"""Every causal and image-text architecture of the installed transformers, at toy size, through the probe of a run.

    python benchmarks/architectures.py [--only NAME ...]

Writes docs/architectures.md, and the same as JSON under benchmarks/results (some minutes on one core). What cannot be
built from its own default config with small numbers is listed as not tried.
"""

from __future__ import annotations

import argparse
import inspect
import json
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from torch import nn
from toy_images import not_handed_on, toy_image
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from cepo.errors import ModelError
from cepo.scoring import RowImages, ScoreRow
from cepo.scoring.probe import probe

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "results" / "architectures.json"
PAGE = ROOT / "docs" / "architectures.md"
SECONDS = 90
VOCABULARY = 320
MOST_WEIGHTS = 30_000_000

SMALL: dict[int, Sequence[str]] = {
    32: ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "word_embed_proj_dim", "hidden_dim",
        "embedding_size", "emb_dim", "text_hidden_size", "projection_hidden_size", "projector_hidden_size",
        "hidden_size_global", "base_channels", "moe_hidden_size", "out_hidden_size", "projection_dim", "output_dim",
        "hidden_size_per_layer_input", "out_dim", "width"),
    64: ("intermediate_size", "ffn_dim", "d_ff", "moe_intermediate_size", "ffn_hidden_size", "n_inner",
        "mlp_dim", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
        "encoder_ffn_dim", "decoder_ffn_dim", "intermediate_size_mlp", "expert_ffn_hidden_size",
        "share_expert_dim", "expert_intermediate_size", "projection_hidden_dim", "shared_intermediate_size",
        "lru_width"),
    4: ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_attention_heads", "n_head", "n_heads",
        "num_heads", "encoder_attention_heads", "decoder_attention_heads", "attention_heads", "num_experts",
        "num_local_experts", "n_routed_experts", "moe_num_experts", "state_size", "num_query_tokens",
        "num_latents", "hc_mult", "num_hash", "linear_num_heads", "mm_tokens_per_image"),
    2: ("depth", "encoder_layers", "decoder_layers", "num_key_value_heads", "num_experts_per_tok",
        "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "linear_num_key_heads",
        "linear_num_value_heads", "num_kv_heads", "num_global_layers"),
    16: ("head_dim", "chunk_size", "index_topk", "keep_window_size", "mamba_chunk_size", "sliding_window",
        "attention_chunk_size"),
    8: ("linear_key_head_dim", "linear_value_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
        "q_lora_rank", "kv_lora_rank", "linear_head_dim", "rotary_dim", "mamba_d_state",
        "attention_head_dim", "global_head_dim", "kda_head_dim"),
    1: ("n_group", "topk_group", "n_shared_experts", "num_expert_group", "first_k_dense_replace",
        "mamba_n_groups", "num_shared_experts", "moe_num_shared_experts"),
    512: ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_sequence_length", "seq_length"),
    VOCABULARY: ("vocab_size", "vocab_size_per_layer_input", "text_vocab_size"),
    28: ("image_size",),
    14: ("patch_size",),
}  # fmt: skip
_SIZE = {name: size for size, names in SMALL.items() for name in names}
_TOKENS = {"image_token_id": 300, "image_token_index": 300, "video_token_id": 301, "vision_start_token_id": 302,
           "vision_end_token_id": 303, "audio_token_id": 304, "boi_token_id": 305, "eoi_token_id": 306,
           "img_context_token_id": 300}  # fmt: skip


ROPE = {"rope_type": "default", "rope_theta": 1e4}
FITTING: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1]},
    "blip_2_qformer": {"num_attention_heads": 4, "encoder_hidden_size": 32},
    "blt": {"encoder_hash_byte_group_vocab": 500, "vocab_size": VOCABULARY},
    "blt_local_encoder": {"head_dim": 8, "vocab_size": VOCABULARY},
    "blt_local_decoder": {"head_dim": 8, "vocab_size": VOCABULARY},
    "blt_patcher": {"head_dim": 8, "vocab_size": VOCABULARY},
    "blt_global_transformer": {"head_dim": 8, "vocab_size": VOCABULARY},
    "chameleon": {"vocabulary_map": {"<image>": 300, "IMGIMGAZ": 310, "IMGIMGBZ": 311}},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {
            kind: ROPE | {"mrope_section": [2, 1, 1]} for kind in ("full_attention", "sliding_attention")
        },
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"] * 2, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "emu3": {"vocabulary_map": {"<image>": 300, "<|extra_200|>": 299, "<|visual token 000000|>": 310}},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [64, 32], "rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 16},
    "granite4_vision": {
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[-2, 1]],
        "spatial_target_layers": [0, 1, 2, 3],
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
        },
    },
    "granite_docling_vision": {"deepstack_visual_indexes": [1, 2, 3], "scale_factor": 2},
    "granitemoehybrid": {
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "helium": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts": 4, "moe_topk": 2},
    "hunyuan_vl_text": {"head_dim": 16, "rope_parameters": ROPE | {"mrope_section": [2, 2, 2, 2]}},
    "laguna": {"layer_types": ["full_attention", "sliding_attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "llama4_vision_model": {
        "intermediate_size": 128,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "vision_output_dim": 32,
    },
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "mellum": {"layer_types": ["full_attention", "sliding_attention"] * 2},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"] * 2,
        "index_block_size": 8,
        "index_topk_blocks": 2,
    },
    "ministral": {"head_dim": 16, "layer_types": ["full_attention", "sliding_attention"] * 2},
    "molmo2_adapter": {"vision_feature_layer": [3, 1]},
    "muse_glimmer": {"out_hidden_size": 128},
    "muse_spark": {"out_hidden_size": 128},
    "muse_spark_audio": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "nemotron": {"num_key_value_heads": 2},
    "pixtral": {"head_dim": 8, "image_size": 56},
    "qwen2_5_omni_thinker": {"vision_start_token_id": 302},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 302},
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "indexed_attention"] * 2,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 320,
    },
    "radio": {"video_temporal_patch_size": 2},
    "reformer": {"axial_pos_embds": False, "local_attn_chunk_length": 16, "lsh_attn_chunk_length": 16},
    "step3p5": {
        "sliding_window": 16,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {kind: ROPE for kind in ("full_attention", "sliding_attention")},
    },
    "xlm": {"causal": True},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "attention_head_dim": 16},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "vipllava": {"vision_feature_layers": [-1, -2]},
}
"""What must fit the small numbers, by kind of config."""


@dataclass(frozen=True)
class Variant:
    """What some architectures want of a toy: as many heads of keys as of queries, axes of M-RoPE that fit."""

    key_value_heads: int = 2
    image_axes: bool = False
    rotary_share: float = 1.0


VARIANTS = [Variant(), Variant(4), Variant(image_axes=True), Variant(image_axes=True, rotary_share=0.5)]


@dataclass(frozen=True)
class Outcome:
    """One architecture. `verdict`: exact, whole rows, refused, or not tried."""

    architecture: str
    kind: str
    inputs: str
    verdict: str
    difference: float | None = None
    why: str = ""


def small_config(
    kind: type[PretrainedConfig], variant: Variant, given: PretrainedConfig | None = None
) -> PretrainedConfig:
    """The architecture's own default config with small numbers, its parts too."""
    default = given if given is not None else kind()
    own = default.to_dict()
    changes: dict[str, Any] = {name: small for name in own if (small := _small(name, own[name])) is not None}
    if "is_decoder" in own:  # encoders that can be policies: left alone they see the tokens that they predict
        changes["is_decoder"] = True
    for name, made in default.sub_configs.items():
        part = getattr(default, name, None)
        if part is None and name == "vision_config" and made is not AutoConfig:
            part = made()
        if isinstance(part, PretrainedConfig):
            changes[name] = small_config(type(part), variant, part).to_dict()
    if "qk_rope_head_dim" in changes and own.get("head_dim") == own["qk_rope_head_dim"]:
        changes["head_dim"] = changes["qk_rope_head_dim"]  # in latent attention: the part that positions turn
    fitting = FITTING.get(default.model_type, {})
    changes |= fitting
    if "num_key_value_heads" in changes:
        changes["num_key_value_heads"] = variant.key_value_heads
    if variant.image_axes and hasattr(default, "num_key_value_heads") and "rope_parameters" not in fitting:
        changes["rope_parameters"] = _axes(default, changes, variant)
    return kind(**changes)


def _small(name: str, value: object) -> int | None:
    """A small number in place of one of a config's; None: the config's own stays."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if name in _SIZE:
        return min(value, _SIZE[name])
    return 0 if name in ("pad_token_id", "bos_token_id", "eos_token_id") else _TOKENS.get(name)


def _axes(default: Any, changes: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """M-RoPE's three axes, as many pairs as a small head has."""
    own = getattr(default, "rope_parameters", None) or {}
    rotary = int((changes.get("head_dim") or 8) * own.get("partial_rotary_factor", variant.rotary_share)) // 2
    axes = [rotary - 2 * (rotary // 3), rotary // 3, rotary // 3]
    return {"rope_type": "default", "rope_theta": 1e4, **own, "mrope_section": axes}


def rows_of(images: RowImages | None, image_ids: Sequence[int]) -> list[ScoreRow]:
    """Two groups of two rows; the prompts of the second are longer."""
    rng = Random(0)
    ids = lambda count: [rng.randrange(5, 290) for _ in range(count)]
    rows = []
    for group, length in enumerate((20, 27)):
        prompt, tail = [*ids(3), *image_ids, *ids(length)], ids(3)
        rows += [
            ScoreRow([*prompt, *block, *tail], ids(9 - 3 * n), images, group) for n, block in enumerate(([], ids(5)))
        ]
    return rows


def shaken(model: nn.Module) -> nn.Module:
    """Weights large enough that a fault shows: fresh ones give nearly the same log-prob to every token."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tried(name: str, auto: Any) -> Iterator[Outcome]:
    """The outcomes of one architecture: its text, and its images in whichever layout it takes them."""
    kind = "image-text" if auto is AutoModelForImageTextToText else "causal"
    why = ""
    for variant in VARIANTS:
        try:
            model = built(name, auto, variant)
            break
        except Exception as error:
            why = why or line(error)
    else:
        yield Outcome(name, kind, "text", "not tried", why=f"no toy of it runs: {why}")
        return
    yield judged(name, kind, "text", model, rows_of(None, []), None)
    if kind == "image-text":
        more = not_handed_on(name, model)
        if not more and "pixel_values" not in inspect.signature(model.forward).parameters:
            return  # a text model that is listed with the others
        if more:
            why = f"its processor gives {', '.join(more)} with images, which TRL does not hand on to training"
            yield Outcome(name, kind, "images", "refused", why=why)
            return
        try:
            images, image_ids, token = toy_image(model)
        except ValueError as error:
            yield Outcome(name, kind, "images", "not tried", why=f"it takes no image that TRL hands on: {error}")
            return
        yield judged(name, kind, "images", model, rows_of(images, image_ids), token)


def built(name: str, auto: Any, variant: Variant) -> nn.Module:
    """A toy that runs."""
    config = small_config(CONFIG_MAPPING[name], variant)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
    if size > MOST_WEIGHTS:
        raise ValueError(f"{size / 1e6:.0f} million weights, however small its numbers")
    torch.manual_seed(0)
    model = shaken(auto.from_config(config))
    with torch.no_grad():
        logits = model(
            input_ids=torch.arange(5, 25)[None], attention_mask=torch.ones(1, 20).long(), use_cache=False
        ).logits
    if not logits.isfinite().all():
        raise ValueError("its logits are not finite")
    return model


def judged(name: str, kind: str, inputs: str, model: nn.Module, rows: list[ScoreRow], token: int | None) -> Outcome:
    try:
        found = probe(model, rows, image_token_id=token)
    except ModelError as error:
        return Outcome(
            name, kind, inputs, "refused", why=str(error).removesuffix(". Use method='grpo' with this model")
        )
    if found.shares:
        return Outcome(name, kind, inputs, "exact", found.difference)
    return Outcome(
        name, kind, inputs, "whole rows", found.difference, found.why_whole or "its cache is not a plain one"
    )


def line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:140]


class TooLong(BaseException):
    """Past every `except Exception` of a model."""


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def page(outcomes: Sequence[Mapping[str, Any]]) -> str:
    order = ("exact", "whole rows", "refused", "not tried")
    counts = {verdict: sum(outcome["verdict"] == verdict for outcome in outcomes) for verdict in order}
    lines = [
        "# Architectures",
        "",
        "<!-- Written by benchmarks/architectures.py; do not edit. -->",
        "",
        f"Every causal and image-text architecture of transformers {transformers.__version__} that can be built from "
        "its own default config with small numbers and random weights, through the probe that every run makes at its "
        "start: log-probs as they are scored against the log-softmax of the model's own forward, in fp32. Images: "
        "one, in the first that the model takes of the layouts that TRL trains. Windows, blocks and budgets of "
        "attention are shorter than the rows: verdicts are those of long rows.",
        "",
        "- **exact**: they agree within 1e-4 nats, and what the prompts of a group share is encoded once.",
        "- **whole rows**: they agree when every row is encoded whole; sharing is switched off, which takes longer.",
        "- **refused**: credit methods refuse this model with this sentence; `method: grpo` is TRL's own.",
        "- **not tried**: no toy of it could be built here. A run with the real model is probed all the same.",
        "",
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + ".",
        "",
        "| architecture | kind | inputs | verdict | largest difference (nats) | why |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in sorted(outcomes, key=lambda one: (order.index(one["verdict"]), one["architecture"], one["inputs"])):
        difference = "" if outcome["difference"] is None else f"{outcome['difference']:.0e}"
        why = outcome["why"].replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {outcome['architecture']} | {outcome['kind']} | {outcome['inputs']} | {outcome['verdict']} "
                     f"| {difference} | {why} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="these architectures; the others keep what was found before")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    names = [(name, AutoModelForImageTextToText) for name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES]
    names += [(name, AutoModelForCausalLM) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
              if name not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES]  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = (
        json.loads(RECORD.read_text()) if only is not None and RECORD.is_file() else {}
    )
    RECORD.parent.mkdir(exist_ok=True)
    for name, auto in names:
        if only is not None and name not in only and name in found:
            continue
        outcomes: list[Outcome] = []
        try:
            with bounded(SECONDS):
                for outcome in tried(name, auto):
                    outcomes.append(outcome)
        except TooLong:
            outcomes.append(Outcome(name, "", "", "not tried", why=f"took more than {SECONDS} s"))
        found[name] = [asdict(outcome) for outcome in outcomes]
        print(name, [(one.inputs, one.verdict, one.why[:90]) for one in outcomes], flush=True)
        RECORD.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page([outcome for outcomes in found.values() for outcome in outcomes]))


if __name__ == "__main__":
    main()
