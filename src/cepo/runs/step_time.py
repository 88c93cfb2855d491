"""How long a step takes on GPUs: arithmetic on shapes, published rates and the part of them that was reached once.

Products reach a part of the dense peak; generation reads weights, keys and values once for each token that the rollouts
grow by. Scoring is what `cepo.scoring` does: live groups, each prompt once, the output layer on completions.
"""

from __future__ import annotations

from dataclasses import dataclass

from cepo.runs.memory import ModelShape

__all__ = ["H100", "Machine", "StepTime", "Work", "scoring_flops", "step_time", "whole_rows_flops"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A GPU: FLOP/s of dense products by dtype, bytes/s and bytes of its memory, and the part of the rates reached.

    Two parts were measured on an H100 at Qwen3-VL-2B's shape (benchmarks/results/gpu.json): bf16 by whole rows through
    transformers' forward, tf32 by `cepo.scoring`. vLLM's, in bf16, is assumed. The rest goes to what is no product.

    `launch`: seconds of one token's forward in transformers' generation, which Python bounds and not the GPU.
    """

    name: str
    bf16: float
    tf32: float
    bandwidth: float
    memory: float
    reached_bf16: float = 0.14
    reached_tf32: float = 0.22
    reached_vllm: float = 0.4
    launch: float = 0.04

    def rate(self, work: str) -> float:
        """FLOP/s of `bf16`, `tf32` or `vllm`."""
        of_peak = {
            "bf16": self.reached_bf16 * self.bf16, "tf32": self.reached_tf32 * self.tf32,
            "vllm": self.reached_vllm * self.bf16,
        }  # fmt: skip
        return of_peak[work]

    def seconds(self, flops: float, work: str) -> float:
        return flops / self.rate(work)


H100 = Machine("H100 80 GB", bf16=989e12, tf32=495e12, bandwidth=3.35e12, memory=80e9)


@dataclass(frozen=True, slots=True)
class Work:
    """A step of one process: rollouts, and tokens of a prompt (image included), of a reference's block, of completions.

    `live`: share of groups whose rewards differ. `contexts`: prompts under which a row is scored.
    """

    groups: int = 32
    size: int = 8
    prompt: int = 450
    block: int = 25
    mean: int = 700
    longest: int = 2048
    live: float = 0.5
    contexts: int = 2

    @property
    def rows(self) -> int:
        return self.groups * self.size


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of each phase."""

    generation: float
    credit: float
    update: float

    @property
    def total(self) -> float:
        return self.generation + self.credit + self.update

    @property
    def credit_share(self) -> float:
        """Of what a step takes without credit."""
        return self.credit / (self.generation + self.update)


def layers_flops(shape: ModelShape, before: float) -> float:
    """Of one token in all layers, `before` tokens standing before it."""
    return shape.layers * (2.0 * shape.layer_parameters + 4.0 * shape.queries * before)


def head_flops(shape: ModelShape) -> float:
    """Of one token in the output layer."""
    return 2.0 * shape.hidden * shape.vocabulary


def scoring_flops(shape: ModelShape, work: Work) -> float:
    """Of `cepo.scoring`: live groups, the prompt once, the output layer on completions."""
    groups = work.groups * work.live
    rows = work.contexts * groups * work.size
    prefix = groups * work.prompt * layers_flops(shape, work.prompt / 2)
    own = rows * work.mean * (layers_flops(shape, work.prompt + work.block + work.mean / 2) + head_flops(shape))
    blocks = rows * work.block * layers_flops(shape, work.prompt)
    return prefix + own + blocks


def whole_rows_flops(shape: ModelShape, work: Work) -> float:
    """Of the released code's way: every row whole, padded to the longest, all logits."""
    row = work.prompt + work.block + work.longest
    return work.contexts * work.rows * row * (layers_flops(shape, row / 2) + head_flops(shape))


def step_time(
    shape: ModelShape,
    work: Work,
    machine: Machine,
    *,
    precision: str = "tf32",
    has_checkpoints: bool = True,
    use_vllm: bool = False,
) -> StepTime:
    """Seconds of one process's step in bf16, credit scored in `precision`; communication between GPUs not counted."""
    return StepTime(
        generation=_generation(shape, work, machine, use_vllm),
        credit=machine.seconds(scoring_flops(shape, work), precision) if work.contexts else 0.0,
        update=machine.seconds(_update_flops(shape, work, has_checkpoints), "bf16"),
    )


def _update_flops(shape: ModelShape, work: Work, has_checkpoints: bool) -> float:
    """Forward and backward, with checkpoints another forward; the output layer, whose backward makes logits again."""
    length = work.prompt + work.mean
    passes = 4 if has_checkpoints else 3
    layers = work.rows * length * passes * layers_flops(shape, length / 2)
    return layers + work.rows * work.mean * 4 * head_flops(shape)


def _generation(shape: ModelShape, work: Work, machine: Machine, use_vllm: bool) -> float:
    """As many token steps as the longest completion has, and the prompts once per row (vLLM: per group)."""
    keys = 2 * 2 * shape.layers * shape.keys
    alive = work.mean / work.longest
    engine = "vllm" if use_vllm else "bf16"
    rows = work.rows * (alive if use_vllm else 1.0)  # transformers pads what has ended
    read = 2 * shape.parameters + keys * rows * (work.prompt + work.longest / 2)
    token = machine.seconds(rows * layers_flops(shape, work.prompt), engine)
    step = max(read / (machine.bandwidth * 0.6), token, 0.0 if use_vllm else machine.launch)
    prompts = work.groups if use_vllm else work.rows
    prefill = machine.seconds(prompts * work.prompt * layers_flops(shape, work.prompt / 2), engine)
    return work.longest * step + prefill
