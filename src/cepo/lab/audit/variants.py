"""The ways to get evidence that are audited against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from cepo.credit.prompts import RATIONALE_TEMPLATE, PromptStyle
from cepo.credit.references import MINUS_POLICIES, MinusPolicy, ReferenceForm, ReferencePolicy
from cepo.errors import SettingError, did_you_mean

__all__ = ["ASKING", "Asking", "Variant", "grid", "select"]

MethodName = Literal["rlsd", "cepo"]


@dataclass(frozen=True, slots=True)
class Asking:
    """How a teacher is asked: where the reference stands, what it is, and whether the teacher sees the image."""

    style: PromptStyle = "user"
    form: ReferenceForm = "answer"
    sees_images: bool = True

    @property
    def template(self) -> str | None:
        """Text around the reference, as the trainer has it; None: the style's own."""
        return RATIONALE_TEMPLATE if (self.form, self.style) == ("rationale", "user") else None

    @property
    def name(self) -> str:
        return f"{self.style}, {self.form}{'' if self.sees_images else ', blind'}"


ASKING: tuple[Asking, ...] = tuple(
    Asking(style, form) for form, style in product(get_args(ReferenceForm), get_args(PromptStyle))
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way: the method, how r- is chosen (None for rlsd, which has none), and how the teachers are asked.

    `other_teacher`: P+ and P- come from the weights given with --teacher instead of the policy's own.
    """

    method: MethodName
    minus: MinusPolicy | None
    asking: Asking = Asking()
    allow_self: bool = False
    other_teacher: bool = False

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

    `worst` and `none` are there once: among rollouts whose reward is their correctness alone the first is `sampled`,
    and the other is a fault of the released code.
    """
    rows: list[Variant] = []
    for asking in ASKING:
        rows.append(Variant("rlsd", None, asking))
        rows += [
            Variant("cepo", m, asking) for m in MINUS_POLICIES if asking == ASKING[0] or m not in ("worst", "none")
        ]
    rows.append(Variant("cepo", "worst", allow_self=True))
    rows.append(Variant("cepo", "worst", Asking("prefill", sees_images=False), allow_self=True))
    if other_teacher:
        plain = [Variant("rlsd", None), *(Variant("cepo", minus) for minus in MINUS_POLICIES if minus != "none")]
        rows += [Variant(row.method, row.minus, other_teacher=True) for row in plain]
    return tuple(rows)


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
