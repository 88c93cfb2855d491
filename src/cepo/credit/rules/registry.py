"""The methods by name: credit rules and distillations. To add a rule, see docs/credit_rule.md."""

from __future__ import annotations

from typing import TypeAlias

from cepo.credit.references import SOURCES, resolve_source
from cepo.credit.rules.cepo import CEPO
from cepo.credit.rules.cpo import CPO
from cepo.credit.rules.decisive import DECISIVE
from cepo.credit.rules.distillations import OPSD, SDPO, SDPO_FEEDBACK, Distillation
from cepo.credit.rules.distilled_rl import DISTILLED_RL
from cepo.credit.rules.focused import FOCUSED
from cepo.credit.rules.grpo import GRPO
from cepo.credit.rules.options import check_options
from cepo.credit.rules.posterior import POSTERIOR
from cepo.credit.rules.prob_mask import PROB_MASK
from cepo.credit.rules.probe import probe
from cepo.credit.rules.rlcsd import RLCSD
from cepo.credit.rules.rlsd import RLSD
from cepo.credit.rules.rule import QUANTITIES, STUDENT, Rule
from cepo.credit.rules.scaled import SCALED
from cepo.credit.rules.scores import SCORES, SCORES_ADDED
from cepo.credit.rules.values import VALUES
from cepo.errors import RuleError, did_you_mean

__all__ = ["METHODS", "OURS", "Method", "get_method", "register"]

Method: TypeAlias = Rule | Distillation

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        GRPO,
        RLSD,
        CEPO,
        SCALED,
        SCORES,
        SCORES_ADDED,
        VALUES,
        FOCUSED,
        DECISIVE,
        POSTERIOR,
        RLCSD,
        CPO,
        DISTILLED_RL,
        PROB_MASK,
        OPSD,
        SDPO,
        SDPO_FEEDBACK,
    )
}

OURS = frozenset(METHODS)
"""Names that are taken."""


def register(method: Method) -> None:
    """Make a method of your own known under its name, for `CEPOConfig(method=name)`.

    Registering a name again replaces it. A rule is first tried on random input.

    Raises:
        RuleError: the name is one of ours, a prompt or a quantity is unknown, prompts are declared without an
            `assign`, or the rule does not do what it says (see `cepo.credit.rules.probe`).
    """
    if method.name in OURS:
        source = METHODS[method.name].source
        raise RuleError(f"there is a method {method.name!r} already ({source}); choose another name")
    for prompt in method.references:
        if not resolve_source(prompt):
            raise RuleError(
                f"method {method.name!r} reads the prompt {prompt!r}, but there are {', '.join((STUDENT, *SOURCES))}; "
                f"a prompt of your own is registered (register_source) before the rule{did_you_mean(prompt, SOURCES)}"
            )
    if isinstance(method, Rule):
        check_rule(method)
    METHODS[method.name] = method


def check_rule(rule: Rule) -> None:
    """Raise RuleError where a rule's declaration is not one, or where the rule does not do what it says."""
    if unknown := rule.reads - set(QUANTITIES):
        known = ", ".join(QUANTITIES)
        raise RuleError(f"rule {rule.name!r} reads {sorted(unknown)}; what can be read is {known}")
    if rule.assign is None and (rule.prompts or rule.reads):
        raise RuleError(f"rule {rule.name!r} declares what it reads, but has no `assign` that would read it")
    tied = [prompt for prompt in rule.references if not SOURCES[prompt].row_free]
    if rule.row_free_references and tied:
        raise RuleError(
            f"rule {rule.name!r} needs references that do not depend on the row, but what {tied[0]!r} tells may; "
            "'rival' tells a wrong answer of another rollout"
        )
    check_options(rule)
    probe(rule)


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        RuleError: no such method; the nearest name is suggested.
    """
    if name not in METHODS:
        raise RuleError(f"unknown method {name!r} (there are {', '.join(METHODS)}){did_you_mean(name, METHODS)}")
    return METHODS[name]
