"""The credit settings with their defaults, and the presets that name a paper's choice of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerBase

from cepo.credit.control import Control
from cepo.credit.evidence import clip_bounds
from cepo.credit.prompts import Render, TeacherPrompts, check_shown
from cepo.credit.references import ReferencePolicy
from cepo.credit.rules import Knobs, Method, Rule, get_method, read_options
from cepo.credit.schedule import constant, linear_decay
from cepo.errors import SettingError
from cepo.scoring import PRECISIONS
from cepo.scoring.weights import Teacher

__all__ = ["PRESETS", "CreditSettings"]

Values: TypeAlias = dict[str, Any]
"""Field -> value."""


@dataclass(frozen=True, slots=True)
class CreditSettings:
    """Everything that token-level credit depends on; `CEPOConfig` has a field of each name.

    Attributes:
        credit_strength: lambda_0 in [0, 1].
        credit_schedule: `linear`: lambda_0 max(0, 1 - (s-1)/T) at step s; `constant`.
        credit_decay_steps: T of `linear`, optimiser steps.
        credit_clip: eps_w in [0, 1).
        rule_options: the rule's own settings: name -> value, and once resolved the record that the rule declares.
        credit_control, credit_mix: see `cepo.credit.control.Control`.
        reference_minus, reference_form, reference_fallback, reference_allow_self, reference_count,
            feedback_max_chars: see
            `cepo.credit.references.ReferencePolicy`. Why `own` is the default: docs/decisions/0003.
        prompt_style, reference_template, reference_max_tokens: see `cepo.credit.prompts.TeacherPrompts`.
        teacher_weights, teacher_sync_every, teacher_ema_rate: see `cepo.scoring.weights.Teacher`.
        teacher_sees_images: False takes the images out of the teachers' prompts, as the authors' release does;
            it is there so that what this costs can be measured.
        credit_precision: of the evidence, see `cepo.scoring.precision.Precision`.
        evidence_dead_zone: `off`; a number of nats taken off |Delta|; or `auto`: the 90th percentile of |Delta|
            between two irrelevant references, measured at each step.
        distill_beta: b of the generalised JSD (OPSD, SDPO), see `cepo.credit.divergence`; 0 forward, 1 reverse KL.
        distill_top_k: tokens that are compared; 0: the vocabulary (OPSD only).
        distill_ratio_clip: bound of the importance weight off policy; 0: none (weight 1).
    """

    credit_strength: float = 0.5
    credit_schedule: str = "linear"
    credit_decay_steps: int = 25
    credit_clip: float = 0.5
    rule_options: Any = None
    credit_control: str = "off"
    credit_mix: float = 1.0
    reference_minus: str = "own"
    reference_form: str = "answer"
    reference_max_tokens: int = 0
    reference_fallback: str = "rlsd"
    reference_allow_self: bool = False
    reference_count: int = 4
    feedback_max_chars: int = 1000
    prompt_style: str = "user"
    reference_template: str | None = None
    teacher_weights: str = "live"
    teacher_sync_every: int = 10
    teacher_ema_rate: float = 0.05
    teacher_sees_images: bool = True
    credit_precision: str = "tf32"
    evidence_dead_zone: str = "off"
    distill_beta: float = 0.5
    distill_top_k: int = 0
    distill_ratio_clip: float = 0.0

    def __post_init__(self) -> None:
        """Raise SettingError on any value that a later part would refuse: now, not at the first step."""
        if self.credit_schedule not in ("linear", "constant"):
            raise SettingError(f"unknown credit_schedule {self.credit_schedule!r}; choose 'linear' or 'constant'")
        self.strength(step=1)
        clip_bounds(self.credit_clip)
        self.reference_policy(seed=0)
        self.control(seed=0)
        self.teacher()
        self.dead_zone(measured=0.0)
        if not 0.0 <= self.distill_beta <= 1.0:
            raise SettingError(f"distill_beta must lie in [0, 1], got {self.distill_beta}")
        if self.distill_top_k < 0 or self.distill_ratio_clip < 0:
            raise SettingError(
                f"distill_top_k and distill_ratio_clip must be 0 or more, got {self.distill_top_k} and "
                f"{self.distill_ratio_clip}"
            )
        if self.credit_precision not in PRECISIONS:
            raise SettingError(
                f"unknown credit_precision {self.credit_precision!r}; choose from {', '.join(PRECISIONS)}"
            )
        if self.prompt_style not in ("user", "prefill"):
            raise SettingError(f"unknown prompt_style {self.prompt_style!r}; choose 'user' or 'prefill'")
        check_shown(self.reference_max_tokens)

    def strength(self, step: int) -> float:
        """lambda at an optimiser step, from 1: a function of the step alone, so that a resumed run has it."""
        if self.credit_schedule == "constant":
            return constant(step, self.credit_strength)
        return linear_decay(step, self.credit_strength, self.credit_decay_steps)

    def dead_zone(self, measured: float | None) -> float:
        """The soft threshold in nats; `measured`: this step's null level, None where there was nothing to measure."""
        if self.evidence_dead_zone == "off":
            return 0.0
        if self.evidence_dead_zone == "auto":
            return measured or 0.0
        try:
            threshold = float(self.evidence_dead_zone)
        except ValueError:
            threshold = -1.0
        if not 0.0 <= threshold < float("inf"):
            raise SettingError(f"evidence_dead_zone must be off, auto or nats >= 0, got {self.evidence_dead_zone!r}")
        return threshold

    def reference_policy(self, seed: int) -> ReferencePolicy:
        return ReferencePolicy(
            minus=self.reference_minus,
            form=self.reference_form,
            fallback=self.reference_fallback,
            allow_self=self.reference_allow_self,
            count=self.reference_count,
            feedback_chars=self.feedback_max_chars,
            seed=seed,
        )

    def teacher_prompts(self, tokenizer: PreTrainedTokenizerBase, render: Render) -> TeacherPrompts:
        """How references are put to teachers."""
        return TeacherPrompts(tokenizer, render, self.prompt_style, self.reference_template, self.reference_max_tokens)

    def knobs(self, step: int, null_p90: float | None = None) -> Knobs:
        """A rule's settings at an optimiser step; `null_p90`: this step's null level, nats, where it was measured."""
        return Knobs(self.strength(step), self.credit_clip, self.dead_zone(null_p90), self.rule_options)

    def control(self, seed: int) -> Control:
        return Control(self.credit_control, self.credit_mix, seed)

    def teacher(self) -> Teacher:
        return Teacher(self.teacher_weights, sync_every=self.teacher_sync_every, ema_rate=self.teacher_ema_rate)

    @classmethod
    def resolve(cls, preset: str, method: str, explicit: Mapping[str, object]) -> CreditSettings:
        """Settings of a preset for a method, with what was given explicitly (not None) on top.

        Raises:
            SettingError: an unknown preset, a value out of its range, or one that the method cannot be used with.
            RuleError: no such method.
        """
        if preset not in PRESETS:
            raise SettingError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
        found = get_method(method)
        values = dict(found.defaults) | PRESETS[preset].get(method, {})
        names = {field.name for field in fields(cls)}
        values |= {name: value for name, value in explicit.items() if name in names and value is not None}
        values["rule_options"] = read_options(found, values.get("rule_options"))
        settings = cls(**values)
        _refuse_unfit(found, settings)
        return settings


def _refuse_unfit(method: Method, settings: CreditSettings) -> None:
    """Settings under which the method would not be what it says."""
    gives_credit = isinstance(method, Rule) and method.assign is not None
    if settings.credit_control != "off" and not gives_credit:
        raise SettingError(
            f"credit_control={settings.credit_control!r} takes the credit that a rule gives, and method="
            f"{method.name!r} gives none"
        )
    if isinstance(method, Rule) and method.row_free_references and settings.reference_minus == "own":
        raise SettingError(
            f"method={method.name!r} is unbiased only if r- does not depend on the row itself, and reference_minus="
            "'own' does; use 'marginal', 'sampled', 'common' or 'worst' (of other rollouts)"
        )


_PAPER_CEPO: Values = {
    "credit_strength": 0.5,
    "credit_decay_steps": 25,
    "credit_clip": 0.5,
    "reference_minus": "worst",
    "reference_allow_self": True,
    "reference_fallback": "rlsd",
    "teacher_weights": "live",
}
_PAPER_RLSD: Values = {
    "credit_strength": 0.5,
    "credit_decay_steps": 50,
    "credit_clip": 0.2,
    "teacher_weights": "synced",
    "teacher_sync_every": 10,
}
_RELEASED: Values = {"credit_clip": 0.2, "prompt_style": "prefill", "teacher_sees_images": False}

PRESETS: dict[str, dict[str, Values]] = {
    "default": {},
    "paper": {"cepo": _PAPER_CEPO, "rlsd": _PAPER_RLSD},
    "released-code": {
        "cepo": {**_PAPER_CEPO, **_RELEASED, "reference_fallback": "grpo"},
        "rlsd": {**_PAPER_RLSD, **_RELEASED},
    },
}
"""Preset -> method -> what differs from the defaults. `paper`: arXiv 2605.19436 and 2604.03128."""
