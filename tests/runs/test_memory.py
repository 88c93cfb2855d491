"""The model of peak memory: its parts against what real tensors take, and how each setting moves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from cepo.cli import main
from cepo.runs.cost_table import KNOWN, cost_table
from cepo.runs.memory import Load, Memory, peak_memory, shape_of
from cepo.runs.step_time import H100, Work, scoring_flops, step_time, whole_rows_flops

LOAD = Load(rows=8, micro_rows=4, prompt=40, completion=24, weight_bytes=4, tokens_per_forward=512)


def made(layers: int, **fields: int) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen3Config(
        vocab_size=64, num_hidden_layers=layers, head_dim=32, tie_word_embeddings=True, **{**sizes, **fields}
    )
    return Qwen3ForCausalLM(config)


def shape(model: Any) -> Any:
    return shape_of(model.config, sum(parameter.numel() for parameter in model.parameters()))


def memory(load: Load = LOAD, **changes: Any) -> Memory:
    return peak_memory(shape(made(2)), replace(load, **changes))


def saved_bytes(model: Any, rows: int, length: int) -> int:
    """Storages that autograd keeps of a forward of the transformer, its weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other comes to lie there
        return tensor

    ids = torch.randint(0, 64, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0  # of different lengths, as rollouts are
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train().model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("sizes", [{}, {"intermediate_size": 256, "num_attention_heads": 8}])
def test_a_layer_s_saved_activations_are_what_autograd_keeps(sizes: dict[str, int]) -> None:
    one, two = (saved_bytes(made(layers, **sizes), 4, 64) for layers in (1, 2))
    loads = Load(rows=8, micro_rows=4, prompt=40, completion=24, weight_bytes=4)
    modelled = [peak_memory(shape(made(layers, **sizes)), loads).phases["update"] for layers in (1, 2)]
    gradients = [4 * sum(p.numel() for p in made(layers, **sizes).parameters()) for layers in (1, 2)]
    assert modelled[1] - modelled[0] - (gradients[1] - gradients[0]) == pytest.approx(two - one, rel=0.05)


def test_keys_and_values_are_what_a_cache_holds() -> None:
    model = made(2)
    rows, length = 8, 64
    cache = model(input_ids=torch.randint(0, 64, (rows, length)), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    longer = memory(rows=rows, completion=LOAD.completion + length).phases["generation"]
    assert longer - memory(rows=rows).phases["generation"] == pytest.approx(held)


def test_what_stays_is_weights_adamw_and_a_copy() -> None:
    model = made(2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.randint(0, 64, (1, 4))).logits.sum().backward()
    optimizer.step()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    state = sum(value.nbytes for of in optimizer.state.values() for name, value in of.items() if name != "step")
    assert memory().stays == {"weights": weights, "optimizer": state, "teacher's copy": 0}
    assert memory(keeps_copy=True).stays["teacher's copy"] == weights
    sharded = memory(keeps_copy=True, shards=4)
    assert {name: 4 * size for name, size in sharded.stays.items()} == memory(keeps_copy=True).stays


def test_each_setting_moves_its_own_phase() -> None:
    def phases(**changes: Any) -> set[str]:
        before, after = memory().phases, memory(**changes).phases
        return {name for name in before if after[name] != before[name]}

    assert phases(rows=16) == {"generation"}
    assert phases(tokens_per_forward=1024) == {"scoring"}
    assert phases(has_checkpoints=True) == {"update"}
    assert memory(has_checkpoints=True).peak_of("update") < memory().peak_of("update")
    lora = memory(lora_rank=4)
    assert lora.stays["optimizer"] < memory().stays["optimizer"] / 4
    assert lora.stays["weights"] > memory().stays["weights"]
    assert memory().peak == memory().peak_of(memory().peak_phase)


def test_the_table_is_of_known_models_and_its_sums() -> None:
    counts = {name: shape.parameters / 1e9 for name, shape in KNOWN.items()}
    assert counts == pytest.approx({"Qwen3-VL-2B": 2.13, "Qwen3-VL-4B": 4.44, "Qwen3-VL-8B": 8.77}, rel=0.02)
    costs = list(cost_table())
    assert len({(one.model, one.training, one.gpus, one.completion, one.method) for one in costs}) == len(costs)
    for grpo, cepo in zip(costs[::2], costs[1::2], strict=True):
        assert (grpo.method, cepo.method) == ("grpo", "cepo")
        assert grpo.time.credit == 0.0
        assert 0.0 < cepo.time.credit_share < 0.5
        assert cepo.memory >= grpo.memory


def test_scoring_at_the_paper_s_scale() -> None:
    two_billion, work = KNOWN["Qwen3-VL-2B"], Work()
    assert whole_rows_flops(two_billion, work) == pytest.approx(4.8e15, rel=0.02)
    assert scoring_flops(two_billion, work) == pytest.approx(0.69e15, rel=0.02)
    assert scoring_flops(two_billion, replace(work, live=0.25)) == pytest.approx(0.69e15 / 2, rel=0.02)
    time = step_time(two_billion, work, H100)
    assert time.total == pytest.approx(time.generation + time.credit + time.update)
    assert step_time(two_billion, work, H100, precision="bf16").credit < time.credit


def test_doctor_prints_the_table_without_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| Qwen3-VL-") for line in lines) == len(list(cost_table()))
    assert main(["doctor"]) == 2
    assert "one of the arguments --config --table is required" in capsys.readouterr().err
