"""Two processes score a model sharded by FSDP2; the first has all rows, the second none. Started by torchrun.

Ends with an error where a number is off.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from cepo.scoring import Forwards, ScoreRow, count_forwards, score
from tests.scoring.test_exact import image_rows, plain, text_model, text_rows, vision_model


def build(kind: str) -> tuple[Any, list[ScoreRow], int | None]:
    if kind == "vision":
        model, processor = vision_model()
        return model, image_rows(processor, 1), processor.image_token_id
    torch.manual_seed(0)
    adapter = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    return get_peft_model(text_model("qwen3"), adapter).eval(), text_rows(), None


def check(kind: str, dtype: str) -> None:
    """`dtype`: of the weights that a forward gathers."""
    model, rows, token = build(kind)
    with torch.no_grad():
        for parameter in model.parameters():  # what a forward under this policy computes with
            parameter.copy_(parameter.to(getattr(torch, dtype)))
    expected = plain(model, rows, 40, token)
    policy = MixedPrecisionPolicy(param_dtype=getattr(torch, dtype))
    mesh: Any = init_device_mesh("cpu", (2,))
    for module in list(model.modules()):
        if type(module).__name__.endswith(("DecoderLayer", "VisionBlock")):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    budget, first = 200, dist.get_rank() == 0
    own = rows if first else []
    counts = torch.tensor(count_forwards(model, own, tokens_per_forward=budget, image_token_id=token))
    dist.all_reduce(counts, dist.ReduceOp.MAX)
    forwards = Forwards(*counts.tolist())
    found = score(model, own, width=40, tokens_per_forward=budget, image_token_id=token, forwards=forwards)
    if first:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    coarse = score(model, rows, width=40, image_token_id=token, precision="bfloat16")
    assert ((coarse - expected).abs().max() > 1e-3) == (dtype == "bfloat16")


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    check("text", "float32")
    check("text", "bfloat16")
    check("vision", "bfloat16")
    dist.destroy_process_group()
