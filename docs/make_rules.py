"""Writes rules.md from the registry of methods, so that it cannot go stale (a test compares).

python docs/make_rules.py
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

from cepo.credit.rules import METHODS, OURS, Distillation, Rule

HEAD = """# The rules

<!-- Written by docs/make_rules.py; do not edit. -->

Every method that `CEPOConfig(method=...)` and a recipe's `method:` can name. Symbols: A, the advantage of a row, as TRL
computes it; A_hat, what the loss reads at a token; `plus`, `minus` and so on: the policy told something; P_S: the
student, told nothing; Delta and d: evidence, in nats; lambda: `credit_strength` after its schedule; eps_w:
`credit_clip`. "Second-hand" means that we know a formula from another paper's account of it and have not read the
original.

Ask of a result before you believe it: does the rule beat GRPO, its own `mass` and its own `permuted` (below)? A rule
that gives less blame in all can gain by that alone.

"""

CONTROLS = """
## Controls

`credit_control` turns any rule into a control of itself. Everything else stays, teachers and their cost too.

- `off`: the rule.
- `permuted`: the same evidence, weights and advantages on other tokens of the row, drawn anew for each row and step.
  `credit_mix` below 1 moves only that share of the tokens: evidence made worse by degrees.
- `mass`: every token has the mean weight that the rule gives in this step to its sign of A: as much praise and blame in
  all, no better placed.
- `random`: weights drawn uniformly from 1 +- eps_w.

`scaled` is a control that needs no teacher: all praise times one number, all blame times another.
"""


def page_of(method: Rule | Distillation) -> str:
    lines = [f"\n## `{method.name}`\n", f"{method.source[0].upper()}{method.source[1:]}.\n"]
    if isinstance(method, Rule) and method.assign is not None:
        lines.append(f"```text\n{inspect.getdoc(method.assign)}\n```\n")
        traits = [f"Reads the prompts {_names(method.prompts)}." if method.prompts else "Scores nothing."]
        if method.reads:
            traits.append(f"Reads {_names(sorted(method.reads))} too.")
        traits.append("Keeps the sign of A." if method.keeps_sign else "May turn the sign of A.")
        if method.acts_where_equal:
            traits.append("Acts in groups of equal rewards too.")
        lines.append(" ".join(traits) + "\n")
        if method.options is not None:
            lines.append(f"`rule_options`: {_options(method.options)}.\n")
    elif isinstance(method, Distillation):
        lines.append(f"A distillation: no credit, a loss of its own. Its teacher reads {_names((method.told,))}.\n")
    if method.defaults:
        shown = ", ".join(f"`{name}: {value}`" for name, value in method.defaults.items())
        lines.append(f"Its defaults: {shown}.\n")
    return "\n".join(lines)


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _options(kind: type) -> str:
    shown = ", ".join(f"`{entry.name}: {entry.default}`" for entry in fields(kind))
    return f"{shown}. {' '.join((inspect.getdoc(kind) or '').split())}".rstrip(".")


def ours() -> list[Rule | Distillation]:
    """Without those that somebody has registered."""
    return [method for name, method in METHODS.items() if name in OURS]


def overview() -> str:
    lines = ["| method | source | prompts |", "|---|---|---|"]
    for method in ours():
        prompts = _names(method.prompts) or "none"
        lines.append(f"| [`{method.name}`](#{method.name}) | {method.source.replace('|', chr(92) + '|')} | {prompts} |")
    return "\n".join(lines) + "\n"


def text() -> str:
    return HEAD + overview() + CONTROLS + "".join(page_of(method) for method in ours())


if __name__ == "__main__":
    (Path(__file__).parent / "rules.md").write_text(text(), encoding="utf-8")
