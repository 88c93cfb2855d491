"""Writes trl_options.md from `cepo.trainer.options`, so that it cannot go stale (a test compares).

python docs/make_trl_options.py
"""

from __future__ import annotations

from pathlib import Path

from cepo.trainer.options import HONOURED, OPTIONS, REFUSALS, Refusal

HEAD = """# TRL's options

<!-- Written by docs/make_trl_options.py; do not edit. -->

Every setting that TRL's GRPOConfig adds to transformers' TrainingArguments, and what becomes of it under rules that
give credit (`cepo`, `rlsd`, ...) and under distillations (`opsd`, `sdpo`). `grpo` is TRL's own update and honours all.
What would be silently wrong is refused in one sentence before anything is generated. A new setting of TRL fails a test
until it stands here.

| setting | rules | distillations |
|---|---|---|
"""

OURS = """
## With two settings of ours

| | refuses | because |
|---|---|---|
"""


def _fate(name: str, kind: str, otherwise: str) -> str:
    refused = [refusal for refusal in REFUSALS[kind] if refusal.field == name]
    if not refused:
        return otherwise
    return "; ".join(f"refused as `{refusal.example!r}`: {_why(refusal)}" for refusal in refused)


def _why(refusal: Refusal) -> str:
    return refusal.why.removeprefix("but ").removeprefix("and ")


def page() -> str:
    rows = [
        f"| `{name}` | {_fate(name, 'rules', option.rules)} | {_fate(name, 'distillations', option.distillations)} |"
        for name, option in sorted(OPTIONS.items())
        if (option.rules, option.distillations) != (HONOURED, HONOURED)
        or any(refusal.field == name for kind in ("rules", "distillations") for refusal in REFUSALS[kind])
    ]
    plain = [
        name
        for name, option in sorted(OPTIONS.items())
        if option.rules == option.distillations == HONOURED
        and not any(refusal.field == name for kind in ("rules", "distillations") for refusal in REFUSALS[kind])
    ]
    ours = [
        f"| `{setting}` | `{refusal.field}={refusal.example!r}` and its like | {_why(refusal)} |"
        for setting in ("skip_dead_groups", "resample_dead_groups")
        for refusal in REFUSALS[setting]
    ]
    honoured = f"\nHonoured everywhere: {', '.join(f'`{name}`' for name in plain)}.\n"
    return HEAD + "\n".join(rows) + "\n" + honoured + OURS + "\n".join(ours) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("trl_options.md").write_text(page())
