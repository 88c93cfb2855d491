"""How much is audited, and of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from cepo.answers import BOXED, Grading
from cepo.credit.evidence import clip_bounds
from cepo.credit.prompts import check_shown
from cepo.errors import SettingError

__all__ = ["PARTS", "AuditPart", "AuditSettings", "quick"]

AuditPart = Literal["labelled", "montecarlo", "null", "sensitivity"]
PARTS: tuple[AuditPart, ...] = get_args(AuditPart)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Everything but the model and the problems that an audit depends on.

    Attributes:
        rollouts: of each problem, at least 2: the group that its references are chosen from.
        wrong_worked: wrong worked solutions of each problem, where the data can make them.
        mc_problems, mc_rollouts: of so many decided problems so many rollouts are cut into steps.
        continuations: K, of each prefix; an even number, for the reliability compares two halves.
        step_tokens: a sentence longer than so many tokens is cut.
        null_rollouts: so many rollouts get null contrasts, one of each problem in turn.
        sensitivity_problems: of so many decided problems 32 rollouts are sampled.
        temperature: of sampling and of the log-probs. max_new_tokens: of a completion.
        reference_max_tokens: of a told solution, see `cepo.credit.prompts.TeacherPrompts`.
        clip: eps_w, for saturation, clipped mass and weights.
        replicates: of the bootstrap.
        methods: names or first parts of names of variants; None: all.
        parts: what is measured.
        grading: how sampled answers are marked and graded; worked solutions box theirs.
    """

    rollouts: int = 8
    wrong_worked: int = 2
    mc_problems: int = 40
    mc_rollouts: int = 4
    continuations: int = 16
    step_tokens: int = 32
    null_rollouts: int = 100
    sensitivity_problems: int = 40
    temperature: float = 1.0
    max_new_tokens: int = 96
    reference_max_tokens: int = 0
    clip: float = 0.5
    replicates: int = 500
    seed: int = 0
    methods: Sequence[str] | None = None
    parts: Sequence[AuditPart] = PARTS
    grading: Grading = BOXED

    def __post_init__(self) -> None:
        least = {"rollouts": 2, "mc_problems": 1, "mc_rollouts": 1, "continuations": 2, "step_tokens": 1}
        least |= {"null_rollouts": 1, "sensitivity_problems": 1, "max_new_tokens": 1, "replicates": 10}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise SettingError(f"{name} must be at least {smallest}, got {getattr(self, name)}")
        if self.continuations % 2:
            raise SettingError(
                f"continuations must be an even number (two halves are compared), got {self.continuations}"
            )
        if self.wrong_worked < 0:
            raise SettingError(f"wrong_worked must be at least 0, got {self.wrong_worked}")
        if not 0.0 < self.temperature < float("inf"):
            raise SettingError(f"temperature must be above 0 (an audit samples), got {self.temperature}")
        if clip_bounds(self.clip)[1] == 0.0:
            raise SettingError("clip (eps_w) must be above 0: at 0 every weight is 1 and there is no credit to audit")
        check_shown(self.reference_max_tokens)
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise SettingError(f"unknown parts {unknown}; choose from {', '.join(PARTS)}")


def quick(settings: AuditSettings) -> AuditSettings:
    """The same at a size that shows whether everything runs, not what the numbers are."""
    return replace(
        settings,
        rollouts=min(settings.rollouts, 4),
        mc_problems=min(settings.mc_problems, 4),
        mc_rollouts=min(settings.mc_rollouts, 2),
        continuations=min(settings.continuations, 4),
        null_rollouts=min(settings.null_rollouts, 8),
        sensitivity_problems=min(settings.sensitivity_problems, 3),
        replicates=min(settings.replicates, 100),
    )
