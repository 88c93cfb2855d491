"""OPSD and SDPO: the student learns a teacher's distributions on its own samples, instead of from rewards.

The teacher's prompts ride along in TRL's batch as (B, S) tensors, so that shuffling and splitting carry them. At
the loss the teacher runs without gradient under its own weights, the student with gradient through the model
that is trained, and the output layer on a chunk of tokens at a time, recomputed in the backward pass: logits of
a chunk are all that ever exists of (B, T, V).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cepo.credit.divergence import (
    clipped_ratio,
    full_vocabulary,
    generalised_jsd,
    student_top_k_with_tail,
    taught_tokens,
    teacher_top_k,
)
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import References
from cepo.credit.rules import Distillation
from cepo.credit.settings import CreditSettings
from cepo.credit.step import Row, View
from cepo.errors import ModelError
from cepo.scoring import LOGITS_PER_CHUNK, ScoreRow
from cepo.scoring.forward import hidden_of_whole
from cepo.scoring.head import Reading, captured_states
from cepo.scoring.logits import logits_map
from cepo.scoring.models import output_layer
from cepo.scoring.precision import scoring_in
from cepo.scoring.probe import BOUND, own_logps
from cepo.scoring.weights import Teacher
from cepo.trainer.batch import Batch
from cepo.trainer.batch_images import fields_of

__all__ = ["DistillationLoss"]


@dataclass(frozen=True, slots=True)
class _Taught:
    """The teacher's states (N, D), its output layer's weights, and how logits come of them."""

    states_ND: Tensor
    weight: Tensor
    bias: Tensor | None
    reading: Reading


@dataclass
class DistillationLoss:
    """What a run's distillation rests on; one for each trainer.

    Attributes:
        method: with `support` and `told`.
        settings: beta, top k, the ratio's bound, the precision of the teacher.
        teacher: whose weights teach.
        prompts: where references stand in prompts.
        accelerator: counts the taught tokens over processes.
        image_token_id: the placeholder's id, None for text.
        temperature: divides both logits.
        other: another model that teaches in the policy's place; None: the policy's own weights, as `teacher` says.
        is_sharded: whether weights are sharded (ZeRO-3, FSDP), which cannot be had.

    Raises:
        ModelError: the weights are sharded.
    """

    method: Distillation
    settings: CreditSettings
    teacher: Teacher
    prompts: TeacherPrompts
    accelerator: Accelerator
    image_token_id: int | None
    temperature: float
    is_sharded: bool
    other: nn.Module | None = None

    def __post_init__(self) -> None:
        if self.is_sharded:
            raise ModelError(f"method={self.method.name!r} reads the output layer apart: use DDP or ZeRO-2, not shards")

    def with_teachers(self, rows: Sequence[Row], batch: Batch, references: Mapping[int, References]) -> Batch:
        """The batch with each row's teacher prompt, as `cepo.trainer.batch` names it (a collective call)."""
        told = [references[row.index][self.method.told] for row in rows]
        views = [row.view or View(row.prompt, row.prompt_ids, row.images) for row in rows]
        teachers = [
            self.prompts.prompt_ids(view.prompt, view.prompt_ids, one.texts[0] or None, one.form) if one.texts else []
            for view, one in zip(views, told, strict=True)
        ]
        longest = max(1, *map(len, teachers))
        ids_BS = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in teachers], device=batch.device)
        mask_BS = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in teachers], device=batch.device)
        taught_B = torch.tensor([float(bool(ids)) for ids in teachers], device=batch.device)
        tokens = taught_tokens(batch.loss_mask, taught_B).sum()
        everyone = cast(Tensor, self.accelerator.gather(tokens)).sum()
        taught = batch.having(teacher_ids=ids_BS, teacher_mask=mask_BS, taught=taught_B, taught_tokens=everyone)
        if not any(row.view for row in rows):
            return taught
        return taught.having(teacher_pictures=[fields_of(view.images) for view in views])

    def loss(self, model: nn.Module, policy: nn.Module, batch: Batch, share: float) -> Tensor:
        """Sum over this micro-batch's taught tokens, divided by those of the step.

        Args:
            model: what is trained, wrapped as it is (its forward makes gradients meet between processes).
            policy: the same without its wrapper.
            batch: a micro-batch.
            share: processes x accumulation windows in one generated batch.
        """
        rows = batch.taught.nonzero().flatten().tolist()
        kept = rows or [0]  # every process needs a graph to go back through
        student_NTD, nothing = self._student_states(model, policy, batch, kept)
        if not rows:
            return student_NTD.sum() * 0.0 + nothing
        teacher_NTD, weight, bias = self._teacher_states(policy, batch, rows)
        counted_NT = batch.loss_mask[rows].bool()
        own = output_layer(policy)
        reading = Reading(self.temperature, logits_map=logits_map(policy))
        teachers = _Taught(teacher_NTD[counted_NT], weight, bias, self._reading(policy))
        divergence_N = self._divergence(student_NTD[counted_NT], teachers, own, reading)
        ratio_N: Tensor | float = 1.0
        if self.settings.distill_ratio_clip > 0 and batch.old_logps is not None:
            logp_NT = self._logps(student_NTD, batch.completion_ids[rows], own, reading)
            ratio_N = clipped_ratio(logp_NT, batch.old_logps[rows], self.settings.distill_ratio_clip)[counted_NT]
        normaliser = batch.taught_tokens.clamp(min=1.0) / share
        return (divergence_N * ratio_N).sum() / normaliser + nothing

    def _student_states(
        self, model: nn.Module, policy: nn.Module, batch: Batch, rows: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """States that predict the completions of `rows`, (N, T, D), with gradient; and 0, with a gradient of 0 to every
        trained weight, the output layer's too, so that no process waits for another's."""
        own = batch.taking(rows)
        ids, mask = own.sequences
        given = {"input_ids": ids, "attention_mask": mask, **own.image_inputs}
        with self.accelerator.autocast(), captured_states(policy) as states:
            logits = model(**given, logits_to_keep=batch.width + 1, use_cache=False).logits
        return states[0][:, -batch.width - 1 : -1], logits.sum()

    def _teacher_states(
        self, policy: nn.Module, batch: Batch, rows: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The teacher's states (N, T, D) for the same completions, and its output layer's weights."""
        prompts, completions, images = batch.teacher_prompts, batch.completions(), batch.teacher_images()
        if not self.settings.teacher_sees_images:
            prompts = [[token for token in ids if token != self.image_token_id] for ids in prompts]
            images = [None] * len(prompts)
        sequences = [ScoreRow(prompts[row], completions[row], images[row]) for row in rows]
        return self._states_of(policy, sequences, batch.width, self.settings.credit_precision)

    def _states_of(
        self, policy: nn.Module, sequences: Sequence[ScoreRow], width: int, precision: str
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        model, here = self.other or policy, next(policy.parameters()).device
        with torch.no_grad(), self.teacher.in_place(policy), scoring_in(model, precision):
            found = [state.to(here) for state in hidden_of_whole(model, sequences, self.image_token_id)]
            head = output_layer(model)
            weight, bias = head.weight.data.to(here), None if head.bias is None else head.bias.data.to(here)
        states = found[0].new_zeros(len(sequences), width, found[0].shape[-1])
        for place, state in enumerate(found):
            states[place, : len(state)] = state
        return states, weight, bias

    def _reading(self, policy: nn.Module) -> Reading:
        """How the teacher's states become logits."""
        return Reading(self.temperature, logits_map=logits_map(self.other or policy))

    @torch.no_grad()
    def check(self, policy: nn.Module, rows: Sequence[ScoreRow]) -> None:
        """The distributions that are taught are the model's own, in fp32.

        Raises:
            ModelError: they are not, as where the output layer is more than its weights; or they are of another number
                of tokens than the student's.
        """
        model = self.other or policy
        width = max(len(row.completion_ids) for row in rows)
        states_NTD, weight, bias = self._states_of(policy, rows, width, "float32")
        students = len(output_layer(policy).weight)
        if len(weight) != students:
            raise ModelError(
                f"method={self.method.name!r} compares distributions over {students} tokens, and the teacher has "
                f"{len(weight)}; use a rule, which reads the sampled tokens alone"
            )
        reading = self._reading(policy)
        with self.teacher.in_place(policy), scoring_in(model, "float32"):
            own = [own_logps(model, row, self.temperature, self.image_token_id) for row in rows]
            own = [own_T.to(states_NTD.device) for own_T in own]
        for states_TD, row, own_T in zip(states_NTD, rows, own, strict=True):
            logits = reading.logits(F.linear(states_TD[: len(own_T)].float(), weight.float(), _float(bias)))
            target = torch.tensor(row.completion_ids, device=logits.device)
            off = (-F.cross_entropy(logits, target, reduction="none") - own_T).abs().max().item()
            if not off < BOUND * (1 + own_T.abs().max().item() / 10):
                raise ModelError(
                    f"method={self.method.name!r} would teach other distributions than {type(model).__name__} has (by "
                    f"{off:.1e} nats): its output layer is more than its weights; use method='cepo' or 'grpo'"
                )

    def _divergence(
        self,
        student_ND: Tensor,
        teacher: _Taught,
        head: Any,
        reading: Reading,
    ) -> Tensor:
        """Generalised JSD of each token, (N,), a chunk at a time."""
        weight, bias = teacher.weight, teacher.bias
        size = max(1, LOGITS_PER_CHUNK // len(weight) // 4)

        def chunk(student_CD: Tensor, teacher_CD: Tensor, own: Tensor) -> Tensor:
            student_CV = reading.logits(F.linear(student_CD.float(), own.float(), _float(head.bias)))
            with torch.no_grad():
                teacher_CV = teacher.reading.logits(F.linear(teacher_CD.float(), weight.float(), _float(bias)))
            return generalised_jsd(*self._distributions(student_CV, teacher_CV), self.settings.distill_beta)

        parts = [
            cast(Tensor, checkpoint(chunk, student_CD, teacher_CD, head.weight, use_reentrant=False))
            for student_CD, teacher_CD in zip(student_ND.split(size), teacher.states_ND.split(size), strict=True)
        ]
        return torch.cat(parts)

    def _distributions(self, student_CV: Tensor, teacher_CV: Tensor) -> tuple[Tensor, Tensor]:
        k = self.settings.distill_top_k
        if self.method.support == "student_tail":
            return student_top_k_with_tail(student_CV, teacher_CV, k)
        return teacher_top_k(student_CV, teacher_CV, k) if k else full_vocabulary(student_CV, teacher_CV)

    @torch.no_grad()
    def _logps(self, student_NTD: Tensor, target_NT: Tensor, head: Any, reading: Reading) -> Tensor:
        """Log-probs of the sampled tokens, (N, T), nats."""
        size = max(1, LOGITS_PER_CHUNK // len(head.weight) // 4)
        parts = []
        for states, targets in zip(student_NTD.flatten(0, 1).split(size), target_NT.flatten().split(size), strict=True):
            logits = reading.logits(F.linear(states.float(), head.weight.float(), _float(head.bias)))
            parts.append(-F.cross_entropy(logits, targets, reduction="none"))
        return torch.cat(parts).view(target_NT.shape)


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
