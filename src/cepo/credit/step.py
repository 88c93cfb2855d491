"""One step of credit: references -> teacher prompts -> log-probs -> advantages. The paper's algorithm box.

Nothing here knows a trainer: `CEPOTrainer`, verl's plugin and the audit hand over rows and groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cepo.credit.control import NO_CONTROL, Control, control_credit
from cepo.credit.evidence import finite_rows, marginal_logp
from cepo.credit.groups import LocalGroups, deviation, gets_credit, is_open, pass_rate
from cepo.credit.masked import MaskBT
from cepo.credit.prompts import Place, TeacherPrompts
from cepo.credit.references import References
from cepo.credit.rules import STUDENT, Credit, Inputs, Knobs, Method, Quantities, Rule
from cepo.errors import DataError
from cepo.glossary import Prompt
from cepo.scoring import RowImages, ScoreRow

__all__ = ["Asking", "Logps", "Row", "ScoreRequest", "StepCredit", "View", "assign_credit", "credited_rows",
           "logps_by_prompt", "plan_scoring"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """What a row's teachers are shown in place of the student's prompt: the prompt, its ids, and its images."""

    prompt: Prompt
    prompt_ids: Sequence[int]
    images: RowImages | None


@dataclass(frozen=True, slots=True)
class Row:
    """One local rollout, ready to be put before its teachers; rows of one `group` are of one problem.

    `completion_ids` are the student's own tokens, never tokenised again. `scores`: per-token scores from outside.
    `view`: what its teachers are shown; None: the student's own prompt.
    """

    index: int
    group: int
    prompt: Prompt
    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    images: RowImages | None
    advantage: float
    scores: Sequence[float] | None = None
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """How teachers are asked: the words around references, and whether they see the images."""

    prompts: TeacherPrompts
    image_token_id: int | None = None
    sees_images: bool = True


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One sequence to score: which local row, under which prompt (its k-th reference), and the sequence."""

    row: int
    prompt: str
    k: int
    sequence: ScoreRow


Logps = dict[int, dict[str, Tensor]]
"""Local row -> prompt name -> log-probs (T,), nats."""


@dataclass(frozen=True, slots=True)
class StepCredit:
    """What one step's credit is made of, from scoring to logs, records and tables.

    Attributes:
        step: optimiser step, from 1.
        method, knobs: the method and its settings at this step.
        groups: complete groups of the local rows.
        references: of every local row.
        logps: of every scored row.
        rows: indices of the local rows that got credit; `inputs` and `credit` have one row for each.
        nonfinite: rows that were scored, but have a log-prob that is not finite; they keep their base advantage.
        control: what was made of the rule's credit, as a control.
    """

    step: int
    method: Method
    knobs: Knobs
    groups: LocalGroups
    references: Mapping[int, References]
    logps: Logps = field(default_factory=dict)
    rows: Sequence[int] = ()
    inputs: Inputs | None = None
    credit: Credit | None = None
    nonfinite: int = 0
    control: Control = NO_CONTROL

    @property
    def name(self) -> str:
        """The method, and the control that its credit is under."""
        return self.method.name + self.control.mark

    @property
    def scored(self) -> int:
        """Rows that the rule was to give credit to."""
        return len(self.rows) + self.nonfinite


def credited_rows(
    rule: Rule, rows: Sequence[Row], groups: LocalGroups, references: Mapping[int, References]
) -> list[Row]:
    """The rows whose credit can matter; the others keep their base advantage, and nothing is scored for them."""
    scored = [row for row in rows if "scores" not in rule.reads or row.scores is not None]
    return [
        row
        for row in scored
        if gets_credit(rule, groups.groups[row.group], references[row.index], row.advantage)
        and not (rule.references and is_open(groups, row.index))
    ]


def plan_scoring(
    rows: Sequence[Row],
    references: Mapping[int, References],
    rule: Rule,
    asking: Asking,
    *,
    with_student: Sequence[int] = (),
) -> list[ScoreRequest]:
    """Every sequence that the rule needs for these rows.

    Args:
        references: of each row, by its index.
        with_student: indices of rows whose student log-probs are wanted too, for their records.
    """
    requests: list[ScoreRequest] = []
    places: dict[tuple[int, ...], Place] = {}  # the rows of a group mostly have one prompt
    spliced: dict[tuple[tuple[int, ...], str, str], list[int]] = {}
    for row in rows:
        told_here, shown = references[row.index], row.view or View(row.prompt, row.prompt_ids, row.images)
        ids = tuple(shown.prompt_ids)
        for prompt in rule.references:
            told = told_here[prompt]
            for k, text in enumerate(told.texts):
                key = (ids, text, told.form)
                if key not in spliced:
                    if text and ids not in places:
                        places[ids] = asking.prompts.place(shown.prompt, ids)
                    block = asking.prompts.reference_ids(text, told.form) if text else None
                    spliced[key] = list(ids) if block is None else places[ids].holding(block)
                requests.append(ScoreRequest(row.index, prompt, k, _sequence(row, spliced[key], shown.images, asking)))
        falls_back = any(not told.texts and told.student_stands_in for told in told_here.values())
        if STUDENT in rule.prompts or falls_back or row.index in with_student:
            requests.append(ScoreRequest(row.index, STUDENT, 0, student_sequence(row)))
    return requests


def student_sequence(row: Row) -> ScoreRow:
    """The row as the student saw it."""
    return ScoreRow(row.prompt_ids, row.completion_ids, row.images, (row.group, row.images is None))


def _sequence(row: Row, prompt_ids: list[int], images: RowImages | None, asking: Asking) -> ScoreRow:
    ids = prompt_ids
    if asking.image_token_id is not None and asking.image_token_id in row.completion_ids:
        raise DataError(
            "a tool answered with an image, which stands within the completion: teachers score completions of text; "
            "let tools answer in text, or use method='grpo'"
        )
    if not asking.sees_images:
        ids, images = [token for token in ids if token != asking.image_token_id], None
    group = (row.group, images is None)  # its prompts are shared: a prompt of the teachers' own has other images
    return ScoreRow(ids, row.completion_ids, images, group if row.view is None else (*group, "view"))


def logps_by_prompt(
    requests: Sequence[ScoreRequest], logp_NT: Float[Tensor, "N T"], references: Mapping[int, References]
) -> Logps:
    """Log-probs of each row under each prompt: of several references the mean of the probabilities, and the student's
    where the student's prompt stands in."""
    parts: dict[int, dict[str, list[Tensor]]] = {}
    for request, logp_T in zip(requests, logp_NT, strict=True):
        parts.setdefault(request.row, {}).setdefault(request.prompt, []).append(logp_T)
    found: Logps = {row: {prompt: _marginal(of) for prompt, of in own.items()} for row, own in parts.items()}
    for row, own in found.items():
        for prompt, told in references[row].items():
            if not told.texts and told.student_stands_in:
                own[prompt] = own[STUDENT]
    return found


def _marginal(logp_T_of_each: Sequence[Tensor]) -> Tensor:
    if len(logp_T_of_each) == 1:
        return logp_T_of_each[0]
    logp_K1T = torch.stack(list(logp_T_of_each))[:, None]
    return marginal_logp(logp_K1T, torch.ones(logp_K1T.shape[:2], dtype=torch.bool, device=logp_K1T.device))[0]


def _alone(sums: Tensor) -> Tensor:
    """The sum over processes, of one process."""
    return sums


def assign_credit(
    asked: StepCredit,
    rows: Sequence[Row],
    logps: Logps,
    advantage_B: Float[Tensor, "B"],
    mask_BT: MaskBT,
    entropy: Mapping[int, Tensor] | None = None,
    total: Callable[[Tensor], Tensor] = _alone,
) -> StepCredit:
    """The step with its credit. Rows with a log-prob that is not finite are dropped and counted.

    Args:
        asked: the step without credit.
        rows: those that get credit.
        logps: of these rows.
        advantage_B, mask_BT: of all local rows.
        entropy: row -> entropy of the student (T,), nats, where the rule reads it.
        total: sums a tensor over processes, for a control that looks at the whole step (a collective call).
    """
    step = _assigned(asked, rows, logps, advantage_B, mask_BT, entropy or {})
    draws = [f"{step.step}/{step.groups.first_row + row}" for row in step.rows]
    credit = control_credit(step.control, step.inputs, step.credit, draws, total, mask_BT.device)
    return replace(step, credit=credit)


def _assigned(
    asked: StepCredit,
    rows: Sequence[Row],
    logps: Logps,
    advantage_B: Tensor,
    mask_BT: Tensor,
    entropy: Mapping[int, Tensor],
) -> StepCredit:
    """The step with what the rule itself gives."""
    rule = asked.method
    if not rows or not isinstance(rule, Rule) or rule.assign is None:
        return asked
    places = [row.index for row in rows]
    streams = {prompt: torch.stack([logps[row][prompt] for row in places]) for prompt in rule.prompts}
    finite_B = torch.ones(len(places), dtype=torch.bool, device=mask_BT.device)
    for logp_BT in streams.values():
        finite_B &= finite_rows(logp_BT, mask_BT[places])
    kept = [row for row, finite in zip(rows, finite_B.tolist(), strict=True) if finite]
    indices = [row.index for row in kept]
    step = replace(asked, logps=logps, nonfinite=len(rows) - len(kept))
    if not kept:
        return step
    inputs = Inputs(
        rule=rule.name,
        advantage_B=advantage_B[indices],
        mask_BT=mask_BT[indices],
        knobs=asked.knobs,
        logps={prompt: logp_BT[finite_B] for prompt, logp_BT in streams.items()},
        quantities=_quantities(rule, kept, asked.groups, mask_BT[indices], entropy),
    )
    return replace(step, rows=indices, inputs=inputs, credit=rule.assign(inputs))


def _quantities(
    rule: Rule,
    rows: Sequence[Row],
    groups: LocalGroups,
    mask_BT: MaskBT,
    entropy: Mapping[int, Tensor],
) -> Quantities:
    """What the rule reads beside log-probs."""
    own_groups = [groups.groups[row.group] for row in rows]
    rollouts = [groups.rollout(row.index) for row in rows]
    device = mask_BT.device

    def column(name: str, values: Sequence[float] | Sequence[bool]) -> Tensor | None:
        return torch.tensor(values, device=device) if name in rule.reads else None

    return Quantities(
        entropy_BT=torch.stack([entropy[row.index] for row in rows]) if "entropy" in rule.reads else None,
        pass_rate_B=column("pass_rate", [pass_rate(group) for group in own_groups]),
        deviation_B=column("deviation", [deviation(group) for group in own_groups]),
        group_size_B=column("group_size", [float(len(group.rollouts)) for group in own_groups]),
        reward_B=column("reward", [rollout.reward for rollout in rollouts]),
        verdict_B=column("verdict", [rollout.correct is True for rollout in rollouts]),
        scores_BT=_scores(rows, mask_BT) if "scores" in rule.reads else None,
    )


def _scores(rows: Sequence[Row], mask_BT: Tensor) -> Tensor:
    scores_BT = torch.zeros(mask_BT.shape, device=mask_BT.device)
    for place, row in enumerate(rows):
        if row.scores is not None:
            scores_BT[place, : len(row.scores)] = torch.tensor(row.scores, device=mask_BT.device)
    return scores_BT
