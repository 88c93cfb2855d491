"""Methods that match a teacher's distributions instead of weighing the advantage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OPSD", "SDPO", "Distillation"]

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
)
SDPO = Distillation(
    "sdpo",
    "SDPO, arXiv 2601.20802: generalised JSD to an EMA teacher that reads a right sibling",
    told="peer",
    support="student_tail",
)
