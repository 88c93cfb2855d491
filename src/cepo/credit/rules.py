"""The methods, one row each. The trainer is blind to them: it scores the teachers that a row asks for and
calls the row's one pure function.

To add a credit rule: write `assign`, add a row (or `register` it from a file of your own, as
`examples/own_credit_rule.py` does), give it a naive twin in the tests. Settings, logs and traces then know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from torch import Tensor

from cepo.credit.evidence import contrastive_evidence, dead_zone, modulate, privileged_gain, weights

__all__ = ["METHODS", "Credit", "Knobs", "Method", "TeacherLogps", "credit_from", "get_method", "register"]

TeacherName = Literal["plus", "minus", "student"]
Support = Literal["full", "student_tail"]


@dataclass(frozen=True, slots=True)
class TeacherLogps:
    """Log-probs (B, T) in nats of the credited rows, under each prompt that the method asked for."""

    plus_BT: Tensor
    minus_BT: Tensor
    student_BT: Tensor


@dataclass(frozen=True, slots=True)
class Credit:
    """What a method gives its credited rows: evidence (nats), weight and advantage, each (B, T)."""

    evidence_BT: Tensor
    weight_BT: Tensor
    advantage_BT: Tensor


@dataclass(frozen=True, slots=True)
class Knobs:
    """What turns evidence into advantages at one step: lambda, eps_w, and the dead zone in nats."""

    strength: float
    clip: float
    dead_zone: float = 0.0


Assign = Callable[[Tensor, TeacherLogps, Tensor, Knobs], Credit]
"""(advantage_B, logps, mask_BT, knobs) -> Credit."""


@dataclass(frozen=True, slots=True)
class Method:
    """One row.

    Attributes:
        name: as in `CEPOConfig.method`.
        source: paper and formula.
        teachers: prompts that must be scored; empty: the base advantage stays, and nothing is scored.
        assign: evidence and credit from the log-probs; pure.
        objective: `policy`: credit in the PPO-clip surrogate; `distillation`: distribution matching replaces it.
        support: of the distillation: the vocabulary or (with distill_top_k) the teacher's top k renormalised
            (`full`); the student's top k and a tail (`student_tail`).
        told: what the distillation's teacher reads: the data's solution, else its answer (`solution`); the first
            right rollout of the group other than oneself (`peer`).
    """

    name: str
    source: str
    teachers: frozenset[TeacherName]
    assign: Assign | None = None
    objective: Literal["policy", "distillation"] = "policy"
    support: Support = "full"
    told: Literal["solution", "peer"] = "solution"


def credit_from(advantage_B: Tensor, evidence_BT: Tensor, mask_BT: Tensor, knobs: Knobs) -> Credit:
    """Evidence of any rule, less its dead zone, to weights and advantages."""
    evidence_BT = dead_zone(evidence_BT, knobs.dead_zone)
    return Credit(
        evidence_BT=evidence_BT,
        weight_BT=weights(advantage_B, evidence_BT, mask_BT, knobs.clip),
        advantage_BT=modulate(advantage_B, evidence_BT, mask_BT, knobs.strength, knobs.clip),
    )


def assign_cepo(advantage_B: Tensor, logps: TeacherLogps, mask_BT: Tensor, knobs: Knobs) -> Credit:
    """Delta = log P+ - log P-."""
    evidence_BT = contrastive_evidence(logps.plus_BT, logps.minus_BT, mask_BT)
    return credit_from(advantage_B, evidence_BT, mask_BT, knobs)


def assign_rlsd(advantage_B: Tensor, logps: TeacherLogps, mask_BT: Tensor, knobs: Knobs) -> Credit:
    """Delta = log P+ - log P_S."""
    evidence_BT = privileged_gain(logps.plus_BT, logps.student_BT, mask_BT)
    return credit_from(advantage_B, evidence_BT, mask_BT, knobs)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("grpo", "DeepSeekMath, arXiv 2402.03300: one advantage for all tokens", frozenset()),
        Method("rlsd", "RLSD, arXiv 2604.03128: log P+ - log P_S", frozenset({"plus", "student"}), assign_rlsd),
        Method("cepo", "CEPO, arXiv 2605.19436: log P+ - log P-", frozenset({"plus", "minus"}), assign_cepo),
        Method(
            "opsd",
            "OPSD, arXiv 2601.18734: generalised JSD to the base weights that read the solution; no reward",
            frozenset({"plus"}),
            objective="distillation",
        ),
        Method(
            "sdpo",
            "SDPO, arXiv 2601.20802: generalised JSD to an EMA teacher that reads a right sibling",
            frozenset({"plus"}),
            objective="distillation",
            support="student_tail",
            told="peer",
        ),
    )
}


_OURS = frozenset(METHODS)


def register(method: Method) -> None:
    """Make a method of one's own known under its name, for `CEPOConfig(method=name)`; once more: the new one holds.

    Raises:
        ValueError: the name is one of ours, a teacher is unknown, or teachers and `assign` do not go together.
    """
    if method.name in _OURS:
        source = METHODS[method.name].source
        raise ValueError(f"there is a method {method.name!r} already ({source}); choose another name")
    known = get_args(TeacherName)
    if unknown := method.teachers - set(known):
        raise ValueError(f"method {method.name!r} asks for teachers {sorted(unknown)}; there are {', '.join(known)}")
    if method.objective == "policy" and bool(method.teachers) != (method.assign is not None):
        raise ValueError(f"method {method.name!r} needs both teachers and assign, or neither (GRPO)")
    METHODS[method.name] = method


def get_method(name: str) -> Method:
    """The row of that name.

    Raises:
        ValueError: no such method; the nearest name is suggested.
    """
    if name not in METHODS:
        near = get_close_matches(name.lower(), METHODS, n=1, cutoff=0.0)
        raise ValueError(f"unknown method {name!r}; did you mean {near[0]!r}? Known: {', '.join(METHODS)}")
    return METHODS[name]
