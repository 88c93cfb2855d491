"""Between verl's batch and cepo's credit, without verl: settings out of its config, rows to references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from cepo.answers import BOXED, Grading
from cepo.credit.groups import LocalGroups, grade_rollouts
from cepo.credit.references import teacher_of
from cepo.credit.rules import Rule, get_method
from cepo.credit.settings import CreditSettings
from cepo.credit.step import Row as CreditRow
from cepo.errors import SettingError, did_you_mean
from cepo.glossary import Group, Prompt, Rollout
from cepo.reports.recorder import TRACE_GROUPS, TRACE_MAX_MB
from cepo.runs.method_files import run_method_files

__all__ = ["Given", "Row", "Tracing", "credit_row", "graded_groups", "read_grading", "read_settings", "read_tracing"]

LOSSES = ("vanilla", "cispo")
"""verl's policy losses that weigh each token by its own advantage."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """How much of a run is recorded, and where.

    Attributes:
        trace_groups: groups of a step; 0: none.
        trace_max_mb: bound on their records, MiB.
        trace_dir: the run folder; None: `cepo` below verl's checkpoints.
    """

    trace_groups: int = TRACE_GROUPS
    trace_max_mb: int = TRACE_MAX_MB
    trace_dir: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("trace_groups", 0), ("trace_max_mb", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SettingError(f"algorithm.cepo.{name}={value!r} must be a whole number of at least {least}")

    def folder(self, checkpoints: str) -> Path:
        """Of the run whose checkpoints verl writes below `checkpoints`."""
        return Path(checkpoints) / "cepo" if self.trace_dir is None else Path(self.trace_dir)


_TRACING = {entry.name for entry in fields(Tracing)}
_GRADING = {entry.name for entry in fields(Grading)}

_REFUSED: dict[str, tuple[Any, str]] = {
    "teacher_weights": ("live", "the actor's workers hold the live weights alone"),
    "teacher_sees_images": (True, "a teacher's row keeps the student's images"),
    "credit_precision": (None, "the workers score in the precision that they train in"),
}
"""Credit field -> the one value that can be had in verl, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One response as verl's batch holds it; `uid` is its problem's, `advantage` the group's, one for all tokens.

    `solution` and `columns` come from the data's `extra_info`.
    """

    uid: str
    gold: str | None
    text: str
    reward: float
    advantage: float
    prompt: Prompt
    prompt_ids: list[int]
    response_ids: list[int]
    solution: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """A batch of verl's before its credit, B rows of T tokens.

    Attributes:
        rows: by their place in the batch, without verl's padding rows.
        advantage_B, mask_BT: of all rows.
        entropies: of each row's tokens, nats; (): the rule does not read them.
    """

    rows: Mapping[int, Row]
    advantage_B: Tensor
    mask_BT: Tensor
    entropies: Sequence[Tensor]


def read_settings(algorithm: Mapping[str, Any], loss: str) -> tuple[Rule, CreditSettings]:
    """The method and its settings from `algorithm.cepo` (method, preset and `CreditSettings`' fields).

    Raises:
        SettingError: an unknown field, a method without credit per token, or what verl would misuse.
    """
    given = dict(algorithm.get("cepo") or {})
    run_method_files([str(path) for path in given.pop("method_files", None) or []])
    method, preset = get_method(str(given.pop("method", "cepo"))), str(given.pop("preset", "default"))
    given = {name: value for name, value in given.items() if name not in _GRADING | _TRACING}
    _check_fields(given)
    if not isinstance(method, Rule):
        raise SettingError(
            f"algorithm.cepo.method={method.name!r} matches distributions, of which verl's workers hand back the "
            "sampled token's log-prob alone: train it with cepo's own trainer (cepo train), or take a credit rule here "
            "('cpo' adds log P+ - log P_S of the sampled token to A)"
        )
    if algorithm.get("adv_estimator") != "grpo":
        raise SettingError(f"algorithm.adv_estimator={algorithm.get('adv_estimator')!r}: credit stands on 'grpo'")
    if method.assign is not None and loss not in LOSSES:
        raise SettingError(
            f"policy_loss.loss_mode={loss!r} was not tried with credit per token; use {' or '.join(LOSSES)}"
        )
    # A preset may name a teacher that moves slowly: only the live one is here.
    settings = CreditSettings.resolve(preset, method.name, {"teacher_weights": "live", **given})
    if not settings.teacher_sees_images:
        raise SettingError(f"algorithm.cepo.preset={preset!r} blinds the teachers, which cannot be had in verl")
    _check_reads(method, algorithm)
    if elsewhere := [prompt for prompt in method.references if teacher_of(prompt)]:
        raise SettingError(f"rule {method.name!r} reads {elsewhere[0]!r}: other teachers cannot be had in verl")
    if settings.evidence_dead_zone == "auto":
        raise SettingError(
            "algorithm.cepo.evidence_dead_zone='auto' needs the null control, which verl's trainer has not"
        )
    return method, settings


def _check_reads(rule: Rule, algorithm: Mapping[str, Any]) -> None:
    """Whether verl has what the rule reads beside log-probs."""
    if "scores" in rule.reads:
        raise SettingError(f"rule {rule.name!r} reads scores, which verl's trainer does not hand over")
    if "entropy" in rule.reads and (algorithm.get("rollout_correction") or {}).get("bypass_mode"):
        raise SettingError(
            f"rule {rule.name!r} reads entropy, which verl does not compute with rollout_correction.bypass_mode=True"
        )
    if "deviation" in rule.reads and not algorithm.get("norm_adv_by_std_in_grpo", True):
        raise SettingError(
            f"rule {rule.name!r} divides by the deviation of a group's rewards, but "
            "algorithm.norm_adv_by_std_in_grpo=False leaves A undivided; set it to True"
        )


def read_grading(algorithm: Mapping[str, Any]) -> Grading:
    """How answers are graded, from the fields of `Grading` in `algorithm.cepo`. Raises SettingError as it does."""
    given = algorithm.get("cepo") or {}
    return Grading(**{name: given[name] for name in _GRADING if name in given})


def read_tracing(algorithm: Mapping[str, Any]) -> Tracing:
    """What is recorded, from the fields of `Tracing` in `algorithm.cepo`. Raises SettingError as it does."""
    given = algorithm.get("cepo") or {}
    return Tracing(**{name: given[name] for name in _TRACING if given.get(name) is not None})


def _check_fields(given: Mapping[str, Any]) -> None:
    known = {entry.name for entry in fields(CreditSettings) if not entry.name.startswith("distill_")}
    for name, value in given.items():
        if name not in known:
            raise SettingError(f"unknown field algorithm.cepo.{name}{did_you_mean(name, known | _GRADING | _TRACING)}")
        if name in _REFUSED and value != _REFUSED[name][0]:
            raise SettingError(f"algorithm.cepo.{name}={value!r} cannot be had in verl: {_REFUSED[name][1]}")


def graded_groups(rows: Mapping[int, Row], grading: Grading = BOXED) -> LocalGroups:
    """Rows of one `uid` are a group; groups are numbered in the order of their first rows. All are graded at once."""
    given = list(rows.values())
    texts, golds, rewards = ([getattr(row, name) for row in given] for name in ("text", "gold", "reward"))
    rollouts = dict(zip(rows, grade_rollouts(texts, golds, rewards, grading=grading), strict=True))
    members: dict[str, list[int]] = {}
    for index in sorted(rows):
        members.setdefault(rows[index].uid, []).append(index)
    groups = {
        number: _group(rows[own[0]], [rollouts[index] for index in own]) for number, own in enumerate(members.values())
    }
    places = {index: (number, place) for number, own in enumerate(members.values()) for place, index in enumerate(own)}
    return LocalGroups(groups, places)


def _group(first: Row, rollouts: Sequence[Rollout]) -> Group:
    return Group(gold=first.gold, rollouts=tuple(rollouts), solution=first.solution, columns=first.columns)


def credit_row(index: int, row: Row, group: int) -> CreditRow:
    """The row as `cepo.credit.step` wants it; its images stay with the workers."""
    return CreditRow(index, group, row.prompt, row.prompt_ids, row.response_ids, None, row.advantage)
