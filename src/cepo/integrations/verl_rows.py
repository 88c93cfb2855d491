"""Between verl's batch and cepo's credit, without verl: settings out of its config, rows to references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from cepo.answers import extract_answer, same_answer
from cepo.credit.groups import is_decided
from cepo.credit.references import ReferencePolicy, choose_references
from cepo.credit.rules import Method, get_method
from cepo.credit.settings import CreditSettings
from cepo.credit.step import RowContext
from cepo.glossary import Group, Rollout

__all__ = ["Row", "read_settings", "row_contexts"]

LOSSES = ("vanilla", "cispo")
"""verl's policy losses that weigh each token by its own advantage."""

_REFUSED: dict[str, tuple[Any, str]] = {
    "teacher_weights": ("live", "the actor's workers hold the live weights alone"),
    "teacher_sees_images": (True, "a teacher's row keeps the student's images"),
    "credit_precision": (None, "the workers score in the precision that they train in"),
}
"""Credit field -> the one value that can be had in verl, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One response as verl's batch holds it; `uid` is its problem's, `advantage` the group's, one for all tokens."""

    uid: str
    gold: str
    text: str
    reward: float
    advantage: float
    prompt: Any
    prompt_ids: list[int]
    response_ids: list[int]


def read_settings(algorithm: Mapping[str, Any], loss: str) -> tuple[Method, CreditSettings]:
    """The method and its settings from `algorithm.cepo` (method, preset and `CreditSettings`' fields).

    Raises:
        ValueError: an unknown field, a method without credit per token, or what verl would misuse.
    """
    given = dict(algorithm.get("cepo") or {})
    method, preset = get_method(str(given.pop("method", "cepo"))), str(given.pop("preset", "default"))
    _check_fields(given)
    if method.objective != "policy":
        raise ValueError(f"algorithm.cepo.method={method.name!r} matches distributions; in verl: grpo, rlsd or cepo")
    if algorithm.get("adv_estimator") != "grpo":
        raise ValueError(f"algorithm.adv_estimator={algorithm.get('adv_estimator')!r}: credit stands on 'grpo'")
    if method.assign is not None and loss not in LOSSES:
        raise ValueError(
            f"policy_loss.loss_mode={loss!r} was not tried with credit per token; use {' or '.join(LOSSES)}"
        )
    # A preset may name a teacher that moves slowly: only the live one is here.
    settings = CreditSettings.resolve(preset, method.name, {"teacher_weights": "live", **given})
    if not settings.teacher_sees_images:
        raise ValueError(f"algorithm.cepo.preset={preset!r} blinds the teachers, which cannot be had in verl")
    if settings.evidence_dead_zone == "auto":
        raise ValueError(
            "algorithm.cepo.evidence_dead_zone='auto' needs the null control, which verl's trainer has not"
        )
    return method, settings


def _check_fields(given: Mapping[str, Any]) -> None:
    known = {entry.name for entry in fields(CreditSettings) if not entry.name.startswith("distill_")}
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown field algorithm.cepo.{name}; did you mean algorithm.cepo.{near}?")
        if name in _REFUSED and value != _REFUSED[name][0]:
            raise ValueError(f"algorithm.cepo.{name}={value!r} cannot be had in verl: {_REFUSED[name][1]}")


def row_contexts(
    rows: Mapping[int, Row], policy: ReferencePolicy, step: int, *, contrastive: bool
) -> dict[int, RowContext]:
    """Batch index -> what its teachers are told, for rows whose credit can matter (as in `CEPOTrainer`)."""
    groups: dict[str, list[int]] = {}
    for index in sorted(rows):
        groups.setdefault(rows[index].uid, []).append(index)
    contexts = {}
    for number, members in enumerate(groups.values()):
        group = _group([rows[index] for index in members])
        chosen = choose_references(group, policy, step=step, index=number, contrastive=contrastive)
        live = is_decided(group) and len({rollout.reward for rollout in group.rollouts}) > 1
        for index, references in zip(members, chosen, strict=True):
            row = rows[index]
            told = references.plus is not None and references.minus_source != "grpo"
            if live and told and row.advantage != 0.0:
                contexts[index] = RowContext(
                    group=number,
                    prompt=row.prompt,
                    prompt_ids=row.prompt_ids,
                    completion_ids=row.response_ids,
                    images=None,  # the workers have them
                    references=references,
                )
    return contexts


def _group(members: Sequence[Row]) -> Group:
    rollouts = []
    for row in members:
        answer = extract_answer(row.text)
        rollouts.append(Rollout(row.text, answer, same_answer(answer, row.gold), row.reward))
    return Group(gold=members[0].gold, rollouts=tuple(rollouts))
