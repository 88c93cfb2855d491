"""Methods that match a teacher's distributions instead of weighing the advantage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = ["OPSD", "SDPO", "SDPO_FEEDBACK", "Distillation"]

Support = Literal["full", "student_tail"]


@dataclass(frozen=True, slots=True)
class Distillation:
    """A distillation.

    Attributes:
        name: as in `CEPOConfig.method`.
        source: paper and formula.
        told: the prompt that its teacher reads, of the registry of references.
        support: what is compared: the vocabulary or (with distill_top_k) the teacher's top k renormalised (`full`);
            the student's top k and a tail (`student_tail`).
    """

    name: str
    source: str
    told: str
    support: Support = "full"
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.told,)

    @property
    def references(self) -> tuple[str, ...]:
        """Its prompts that hold a reference, as a rule has them."""
        return (self.told,)


OPSD = Distillation(
    "opsd",
    "OPSD, arXiv 2601.18734: generalised JSD to the base weights that read the solution; no reward",
    told="solution",
    # The weights before training: OPSD's base model, with LoRA and without.
    defaults={"teacher_weights": "frozen", "distill_beta": 0.5},
)
SDPO = Distillation(
    "sdpo",
    "SDPO, arXiv 2601.20802: generalised JSD to an EMA teacher that reads a right sibling",
    told="peer",
    support="student_tail",
    defaults={
        "teacher_weights": "ema",
        "teacher_ema_rate": 0.05,
        "distill_beta": 0.5,
        "distill_top_k": 100,
        "distill_ratio_clip": 2.0,
    },
)
SDPO_FEEDBACK = replace(
    SDPO,
    name="sdpo_feedback",
    source="SDPO with rich feedback, arXiv 2601.20802: as sdpo, and the teacher reads what was said of the row",
    told="feedback",
)
