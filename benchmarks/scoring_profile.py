"""Where the time of one scoring goes, in shares of it: `python benchmarks/scoring_profile.py --keep`.

Shapes of `benchmarks/scoring.py`, one thread, torch's profiler over one call, by kind of operation; `prefix` is the
encoding of prompts with their images, of which the floor has nothing, and is in no other share.
"""

from __future__ import annotations

import argparse
from collections import Counter
from unittest.mock import patch

import torch
from provenance import provenance, write_results
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

import cepo.scoring.forward as forward
from scoring import live, ours, shape

PREFIX = "prompts"
KINDS = {
    "products": ("mm", "addmm", "bmm", "mkldnn_convolution"),
    "attention": ("_scaled_dot_product_flash_attention_for_cpu",),
    "exponentials and maxima of the vocabulary": ("exp_", "amax", "sub_", "sum", "gather"),
    "copies": ("copy_", "cat", "index_select", "where"),
}


def shares(vision: bool) -> dict[str, float]:
    model, rows = shape(vision)
    encode = forward._encode

    def marked(*args: object) -> object:
        with record_function(PREFIX):
            return encode(*args)  # type: ignore[arg-type]

    ours(model, live(rows))
    with patch.object(forward, "_encode", marked), profile(activities=[ProfilerActivity.CPU]) as profiled:
        ours(model, live(rows))
    found: Counter[str] = Counter()
    for event in profiled.events():
        found[_kind(event)] += event.self_cpu_time_total
    return {name: spent / found.total() for name, spent in found.most_common()}


def _kind(event: FunctionEvent) -> str:
    above = event
    while above is not None:
        if above.name == PREFIX:
            return PREFIX
        above = above.cpu_parent
    name = event.name.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names), "the rest")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/scoring_profile.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {"made_by": provenance(1)} | {name: shares(name == "vision") for name in ("text", "vision")}
    for name in ("text", "vision"):
        print(name, ", ".join(f"{kind} {share:.1%}" for kind, share in results[name].items()))
    if options.keep:
        print(write_results("scoring_profile", results))


if __name__ == "__main__":
    main()
