"""The ways to get evidence that are audited against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

from cepo.credit.prompts import PromptStyle
from cepo.credit.references import MINUS_POLICIES, MinusPolicy, ReferencePolicy
from cepo.credit.rules import METHODS, OURS, Rule, get_method
from cepo.errors import SettingError, did_you_mean
from cepo.glossary import ReferenceForm

__all__ = ["ASKING", "Asking", "Variant", "grid", "select"]

_NOT_HERE = frozenset({"entropy", "scores", "pass_rate", "deviation", "group_size"})
"""What a rule may read in training, and the audit does not have."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a teacher is asked: where the reference stands, what it is, and whether the teacher sees the image."""

    style: PromptStyle = "user"
    form: ReferenceForm = "answer"
    sees_images: bool = True

    @property
    def name(self) -> str:
        return f"{self.style}, {self.form}{'' if self.sees_images else ', blind'}"


ASKING: tuple[Asking, ...] = tuple(
    Asking(style, form) for form, style in product(get_args(ReferenceForm), get_args(PromptStyle))
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way: the credit rule, how r- is chosen (None for a rule that has none), and how the teachers are asked.

    `other_teacher`: P+ and P- come from the weights given with --teacher instead of the policy's own.
    """

    method: str
    minus: MinusPolicy | None
    asking: Asking = Asking()
    allow_self: bool = False
    other_teacher: bool = False

    @property
    def rule(self) -> Rule:
        rule = get_method(self.method)
        assert isinstance(rule, Rule)
        return rule

    @property
    def goes_by_evidence(self) -> bool:
        """Whether a token's credit grows with its evidence, so that this says where credit lies."""
        return self.method in ("rlsd", "cepo")

    @property
    def name(self) -> str:
        """Unique: method, r- policy, and what differs from the plain way of asking."""
        first = self.method if self.minus is None else f"{self.method}-{self.minus}"
        marks = [
            ("+self", self.allow_self),
            ("/prefill", self.asking.style == "prefill"),
            ("/rationale", self.asking.form == "rationale"),
            ("/blind", not self.asking.sees_images),
            ("@teacher", self.other_teacher),
        ]
        return first + "".join(mark for mark, holds in marks if holds)

    def policy(self, seed: int) -> ReferencePolicy:
        """As the trainer would choose; a row without an admissible r- has no evidence here, and is counted."""
        return ReferencePolicy(
            minus=self.minus or "sampled",
            form=self.asking.form,
            fallback="grpo",
            allow_self=self.allow_self,
            seed=seed,
        )


def grid(other_teacher: bool) -> tuple[Variant, ...]:
    """Every method and r- policy under every way of asking, and the paper's and its released code's own choices.

    `worst` and `word_none` are there once: among rollouts whose reward is their correctness alone the first is
    `sampled`, and the other is a fault of the released code. Registered rules stand after ours, told answers and told
    solutions.
    """
    rows: list[Variant] = []
    for asking in ASKING:
        rows.append(Variant("rlsd", None, asking))
        rows += [
            Variant("cepo", m, asking) for m in MINUS_POLICIES if asking == ASKING[0] or m not in ("worst", "word_none")
        ]
        rows.append(Variant("decisive", "own", asking))
    rows.append(Variant("cepo", "worst", allow_self=True))
    rows.append(Variant("cepo", "worst", Asking("prefill", sees_images=False), allow_self=True))
    if other_teacher:
        plain = [Variant("rlsd", None), *(Variant("cepo", minus) for minus in MINUS_POLICIES if minus != "word_none")]
        rows += [Variant(row.method, row.minus, other_teacher=True) for row in plain]
    return (*rows, *_registered())


def _registered() -> list[Variant]:
    """Rules of your own that compare prompts, and read nothing that only training has."""
    rules = [method for name, method in METHODS.items() if isinstance(method, Rule) and name not in OURS]
    return [
        Variant(rule.name, "own" if "minus" in rule.references else None, Asking(form=form))
        for rule in rules
        if rule.references and not rule.reads & _NOT_HERE
        for form in get_args(ReferenceForm)
    ]


def select(variants: Sequence[Variant], wanted: Sequence[str] | None) -> tuple[Variant, ...]:
    """The variants that `wanted` names: a whole name, or the first part of names (`cepo`, `rlsd/prefill`).

    None: all.

    Raises:
        SettingError: a name that is no variant's; the nearest is suggested.
    """
    if wanted is None:
        return tuple(variants)
    names = [variant.name for variant in variants]
    for name in wanted:
        if not any(_matches(known, name) for known in names):
            raise SettingError(f"unknown method {name!r}{did_you_mean(name, names)} Known: {', '.join(names)}")
    return tuple(variant for variant in variants if any(_matches(variant.name, name) for name in wanted))


def _matches(known: str, wanted: str) -> bool:
    rest = known.removeprefix(wanted)
    return known == wanted or (rest != known and rest[0] in "-+/@")
