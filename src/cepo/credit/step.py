"""One step of credit: references -> teacher prompts -> log-probs -> advantages. The paper's algorithm box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cepo.credit.evidence import finite_rows, marginal_logp
from cepo.credit.groups import LocalGroups, is_decided, row_images, unpadded
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.rules import Credit, Knobs, Method, TeacherLogps
from cepo.glossary import References
from cepo.scoring import Images, ScoreRow, score

__all__ = [
    "CreditedRows",
    "RowContext",
    "ScoreRequest",
    "assign_credit",
    "live_contexts",
    "plan_scoring",
    "run_scoring",
]


@dataclass(frozen=True, slots=True)
class RowContext:
    """What is needed to put one local row before its teachers; rows of one `group` are of one problem."""

    group: int
    prompt: Any
    prompt_ids: list[int]
    completion_ids: list[int]
    images: Images | None
    references: References


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One sequence to score: which local row, under which prompt (`minus` k = 0..K-1), and the sequence."""

    row: int
    teacher: str
    k: int
    sequence: ScoreRow


@dataclass(frozen=True, slots=True)
class CreditedRows:
    """Local rows that got credit, with what it was made of; tensors have one row for each of `rows`."""

    rows: list[int]
    logps: TeacherLogps
    credit: Credit
    nonfinite: int


def live_contexts(
    inputs: Sequence[Mapping[str, Any]],
    batch: Mapping[str, Any],
    groups: LocalGroups,
    references: Sequence[References],
) -> dict[int, RowContext]:
    """Rows whose credit can matter: a live advantage, a decided group, and something to tell the teachers."""
    prompt_ids = unpadded(batch["prompt_ids"], batch["prompt_mask"])
    completion_ids = unpadded(batch["completion_ids"], batch["completion_mask"])
    images = row_images(batch, len(inputs))
    contexts = {}
    for row, reference in enumerate(references):
        group = groups.groups[groups.group_of(row)]
        told = reference.plus is not None and reference.minus_source != "grpo"
        # A group of equal rewards can keep a rounding residue as its advantage.
        is_live = len({rollout.reward for rollout in group.rollouts}) > 1
        if batch["advantages"][row] != 0 and told and is_live and is_decided(group):
            contexts[row] = RowContext(
                group=groups.group_of(row),
                prompt=inputs[row]["prompt"],
                prompt_ids=prompt_ids[row],
                completion_ids=completion_ids[row],
                images=images[row],
                references=reference,
            )
    return contexts


def plan_scoring(
    contexts: Mapping[int, RowContext],
    method: Method,
    prompts: TeacherPrompts,
    image_token_id: int | None,
    *,
    sees_images: bool = True,
    with_student: Sequence[int] = (),
) -> list[ScoreRequest]:
    """Every sequence that the method needs for these rows; `with_student` adds P_S for rows to be recorded."""
    requests: list[ScoreRequest] = []
    spliced: dict[tuple[int, str | None], list[int]] = {}  # the rows of a group have one prompt
    for row, context in contexts.items():
        references = context.references

        def add(teacher: str, reference: str | None, k: int = 0, row: int = row, context: RowContext = context) -> None:
            told = (context.group, reference)
            if told not in spliced:
                spliced[told] = prompts.prompt_ids(context.prompt, context.prompt_ids, reference)
            ids = spliced[told]
            images = context.images
            if not sees_images and reference is not None:
                ids, images = [token for token in ids if token != image_token_id], None
            group = (context.group, images is None)
            requests.append(ScoreRequest(row, teacher, k, ScoreRow(ids, context.completion_ids, images, group)))

        add("plus", references.plus)
        for k, wrong in enumerate(references.minus):
            add("minus", wrong, k)
        falls_back = "minus" in method.teachers and not references.minus and references.minus_source == "rlsd"
        if "student" in method.teachers or falls_back or row in with_student:
            add("student", None)
    return requests


def run_scoring(
    model: nn.Module, requests: Sequence[ScoreRequest], *, width: int, **options: Any
) -> dict[tuple[int, str, int], Tensor]:
    """(row, teacher, k) -> log-probs (T,), in one call of `score`."""
    logp_BT = score(model, [request.sequence for request in requests], width=width, **options)
    return {(r.row, r.teacher, r.k): logp_T for r, logp_T in zip(requests, logp_BT, strict=True)}


def assign_credit(
    contexts: Mapping[int, RowContext],
    scored: Mapping[tuple[int, str, int], Tensor],
    advantage_B: Tensor,
    mask_BT: Tensor,
    method: Method,
    knobs: Knobs,
) -> CreditedRows | None:
    """Credit of the rows that have one. Rows with a non-finite log-prob are dropped and counted.

    Rows without r- take P- := P_S (fallback rlsd) or P- := P+ (fallback grpo: no evidence). None: no row.
    """
    if not contexts or method.assign is None:
        return None
    rows = list(contexts)
    plus_BT = torch.stack([scored[row, "plus", 0] for row in rows])
    student_BT = torch.stack([scored.get((row, "student", 0), scored[row, "plus", 0]) for row in rows])
    minus_BT = torch.stack([_minus(contexts[row].references, scored, row) for row in rows])
    kept_mask_BT = mask_BT[rows]
    finite_B = finite_rows(plus_BT, kept_mask_BT) & finite_rows(minus_BT, kept_mask_BT)
    finite_B &= finite_rows(student_BT, kept_mask_BT)
    kept = [row for row, finite in zip(rows, finite_B.tolist(), strict=True) if finite]
    if not kept:
        return CreditedRows([], TeacherLogps(plus_BT[:0], minus_BT[:0], student_BT[:0]), _nothing(plus_BT), len(rows))
    logps = TeacherLogps(plus_BT[finite_B], minus_BT[finite_B], student_BT[finite_B])
    credit = method.assign(advantage_B[kept], logps, mask_BT[kept], knobs)
    return CreditedRows(kept, logps, credit, len(rows) - len(kept))


def _nothing(like_BT: Tensor) -> Credit:
    return Credit(like_BT[:0], like_BT[:0], like_BT[:0])


def _minus(references: References, scored: Mapping[tuple[int, str, int], Tensor], row: int) -> Tensor:
    if references.minus:
        logp_KT = torch.stack([scored[row, "minus", k] for k in range(len(references.minus))])
        valid = torch.ones(len(references.minus), 1, dtype=torch.bool, device=logp_KT.device)
        return marginal_logp(logp_KT[:, None], valid)[0]
    if references.minus_source == "rlsd":
        return scored[row, "student", 0]
    return scored[row, "plus", 0]
