"""Arithmetic, not a measurement: what a step costs at the paper's scale. `python benchmarks/at_scale.py`

Shapes, rates and formulas are `cepo doctor --table`'s (`cepo.runs.step_time`); devices are in benchmarks/devices.py.
"""

from __future__ import annotations

from cepo.runs.cost_table import KNOWN
from cepo.runs.step_time import H100, Work, scoring_flops, step_time, whole_rows_flops


def main() -> None:
    work = Work()
    rates = ", ".join(f"{kind} {H100.rate(kind) / 1e12:.0f} TFLOP/s" for kind in ("bf16", "tf32", "vllm"))
    print(f"{work}; {H100.name}: {rates}\n")
    for name in ("Qwen3-VL-2B", "Qwen3-VL-4B"):
        shape = KNOWN[name]
        theirs, ours = whole_rows_flops(shape, work), scoring_flops(shape, work)
        print(f"{name}: released {theirs / 1e15:.1f} PFLOP = {H100.seconds(theirs, 'bf16'):.1f} s in bf16")
        for kind in ("bf16", "tf32"):
            print(f"  cepo {ours / 1e15:.2f} PFLOP = {H100.seconds(ours, kind):.1f} s in {kind}")
        for engine, vllm in (("transformers", False), ("vLLM", True)):
            time = step_time(shape, work, H100, use_vllm=vllm)
            print(
                f"  a step with {engine}: generation {time.generation:.0f} s, update {time.update:.1f} s; "
                f"credit in tf32 {time.credit:.1f} s adds {time.credit_share:.0%}"
            )


if __name__ == "__main__":
    main()
