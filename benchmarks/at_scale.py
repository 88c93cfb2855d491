"""Arithmetic, not a measurement: what scoring costs at the paper's scale. `python benchmarks/at_scale.py`

Every number follows from the shapes of Qwen3-VL's language models (their published configs), the paper's batch and
the rates below, which are what large products usually reach on an H100 (40% of the dense peak).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

PEAK = {"bf16": 989e12, "tf32": 495e12}
REACHED = 0.4


@dataclass(frozen=True)
class Shape:
    name: str
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int = 128
    vocabulary: int = 151_936

    @property
    def layer_flops(self) -> float:
        """Of one token in all layers, attention's products with the cache apart."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return 2.0 * self.layers * (attention + 3 * self.hidden * self.intermediate)

    def attention_flops(self, before: float) -> float:
        return 4.0 * self.layers * self.heads * self.head_dim * before

    @property
    def head_flops(self) -> float:
        return 2.0 * self.hidden * self.vocabulary


@dataclass(frozen=True)
class Batch:
    """32 problems x 8 rollouts; tokens of a prompt (image included), of a reference's block, of completions."""

    groups: int = 32
    size: int = 8
    prompt: int = 450
    block: int = 25
    mean: int = 700
    longest: int = 2048
    live: float = 0.5


def released(shape: Shape, batch: Batch) -> float:
    """FLOPs of the released code's way: every row whole, padded to the longest, all logits."""
    row = batch.prompt + batch.block + batch.longest
    per_token = shape.layer_flops + shape.head_flops + shape.attention_flops(row / 2)
    return 2 * batch.groups * batch.size * row * per_token


def ours(shape: Shape, batch: Batch) -> float:
    """FLOPs of `cepo.scoring`: live groups, the prompt once, the head on completions."""
    groups = batch.groups * batch.live
    prefix = groups * batch.prompt * (shape.layer_flops + shape.attention_flops(batch.prompt / 2))
    rows = 2 * groups * batch.size
    before = batch.prompt + batch.block + batch.mean / 2
    own = rows * batch.mean * (shape.layer_flops + shape.head_flops + shape.attention_flops(before))
    blocks = rows * batch.block * (shape.layer_flops + shape.attention_flops(batch.prompt))
    return prefix + own + blocks


def expected_maximum(ranks: int, groups: int, live: float) -> float:
    """Live groups on the busiest of `ranks` processes with `groups` each."""
    weights = [0.0] * (groups + 1)
    for outcome in product((0, 1), repeat=groups):
        weights[sum(outcome)] += live ** sum(outcome) * (1 - live) ** (groups - sum(outcome))
    below = [sum(weights[: n + 1]) ** ranks for n in range(groups + 1)]
    return sum(n * (below[n] - (below[n - 1] if n else 0.0)) for n in range(groups + 1))


SHAPES = (
    Shape("Qwen3-VL-2B", 2048, 28, 6144, 16, 8),
    Shape("Qwen3-VL-4B", 2560, 36, 9728, 32, 8),
)


def main() -> None:
    batch = Batch()
    print(f"{batch}; H100 at {REACHED:.0%} of its dense peak\n")
    for shape in SHAPES:
        theirs, mine = released(shape, batch), ours(shape, batch)
        print(f"{shape.name}: released {theirs / 1e15:.1f} PFLOP = {theirs / PEAK['bf16'] / REACHED:.1f} s in bf16")
        for kind in ("bf16", "tf32"):
            print(f"  cepo {mine / 1e15:.2f} PFLOP = {mine / PEAK[kind] / REACHED:.1f} s in {kind}")
    print("\nlive groups of the busiest process, 4 groups each, half of them live (the mean is 2):")
    for ranks in (1, 8, 64, 1000):
        print(f"  {ranks:5d} processes: {expected_maximum(ranks, 4, 0.5):.2f}")


if __name__ == "__main__":
    main()
