"""`CEPOTrainer`: TRL's GRPOTrainer with one hook, in which advantages (B,) become advantages (B, T)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from cepo.contexts.prompts import RATIONALE_TEMPLATE, TeacherPrompts
from cepo.models.processor import load_processor
from cepo.ops.diagnostics import credit_sums, summarise
from cepo.tasks.guards import guard_reward
from cepo.tasks.rewards import completion_text
from cepo.traces import TraceWriter
from cepo.training.assign import CreditedRows, RowContext, assign_credit, plan_scoring, run_scoring
from cepo.training.config import CEPOConfig
from cepo.training.methods import get_method
from cepo.training.preflight import check_folder, preflight
from cepo.training.records import credit_records
from cepo.training.rollouts import (
    LocalGroups,
    gather_groups,
    grade_rollouts,
    is_decided,
    row_images,
    row_references,
    unpadded,
)
from cepo.types import References, Rollout

__all__ = ["CEPOTrainer"]


class CEPOTrainer(GRPOTrainer):
    """Used exactly as TRL's GRPOTrainer, with a `CEPOConfig`. `method='grpo'` is TRL's own update, bit for bit.

    Raises:
        ValueError: whatever `cepo.training.preflight` finds wrong with data, lengths, rewards or the run folder,
            before anything is generated.
    """

    _name = "CEPO"
    args: CEPOConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: CEPOConfig | None = None, **kwargs: Any) -> None:
        if args is None:
            args = CEPOConfig(output_dir="cepo-run")
        if not isinstance(args, CEPOConfig):
            raise TypeError(f"args must be a CEPOConfig, got {type(args).__name__}; it takes every GRPOConfig field")
        check_folder(args.run_folder)
        if kwargs.get("processing_class") is None and isinstance(model, str):
            kwargs["processing_class"] = load_processor(model, trust_remote_code=args.trust_remote_code)
        functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        guarded = [_guarded(function, args.reward_timeout) for function in functions]
        super().__init__(model, cast(Any, guarded), args, **kwargs)
        self.method = get_method(args.method)
        self.credit = args.credit
        self.teacher = args.credit.teacher()
        self._rewards: Tensor | None = None
        self._completions: list[Any] = []
        self._traces: TraceWriter | None = None
        self._prompts = TeacherPrompts(
            tokenizer=cast(PreTrainedTokenizerBase, self._tokenizer),
            render=self._render,
            style=self.credit.prompt_style,
            template=self._template(),
        )
        preflight(self)
        if self.method.teachers:
            self.teacher.start(self._policy)
            self.add_callback(_MoveTeacher(self))

    # --- the hook -------------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """TRL's rewards, kept: the batch that it returns does not hold them."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._rewards, self._completions = rewards, completions
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if not cast(torch.nn.Module, self.model).training:
            return batch
        step = self.state.global_step + 1
        strength = self.credit.strength(step) if self.method.teachers else 0.0
        self._metrics["train"]["credit/lambda"].append(strength)
        wants_credit = strength > 0.0
        if not wants_credit and not self._records_step():
            return batch
        groups = self._groups(inputs)
        references = row_references(
            groups,
            len(inputs),
            self.credit.reference_policy(self.args.seed),
            step,
            "minus" in self.method.teachers,
        )
        contexts = self._contexts(inputs, batch, groups, references) if wants_credit else {}
        traced = self._traced_rows(groups, step, len(inputs))
        credited = self._credit(batch, contexts, strength, step, traced)
        if wants_credit:
            self._log_credit(batch, groups, references, contexts, credited, strength)
        if traced:
            self._record(inputs, batch, groups, references, credited, traced, step, strength)
        if credited is not None and credited.rows:
            advantage_BT = batch["advantages"][:, None].repeat(1, batch["completion_ids"].shape[1])
            advantage_BT[credited.rows] = credited.credit.advantage_BT.to(advantage_BT.dtype)
            batch["advantages"] = advantage_BT
        return batch

    # --- its parts ------------------------------------------------------------------------------------------

    def _groups(self, inputs: list[dict[str, Any]]) -> LocalGroups:
        rewards = cast(Tensor, self._rewards)
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        here = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        verdict = None
        if self.args.wrong_reward is not None:
            verdict = rewards[here, self.reward_func_names.index(self.args.wrong_reward)].tolist()
        golds = [_text_or_none(row.get(self.args.answer_column)) for row in inputs]
        solutions = [_text_or_none(row.get(self.args.solution_column)) for row in inputs]
        texts = [completion_text(completion) for completion in self._completions]
        local: list[Rollout] = grade_rollouts(texts, golds, total[here].tolist(), verdict, self.args.wrong_below)
        return gather_groups(local, golds, solutions, self.args.group_size, self.accelerator.process_index)

    def _contexts(
        self, inputs: Any, batch: dict[str, Any], groups: LocalGroups, references: list[References]
    ) -> dict[int, RowContext]:
        """Rows whose credit can matter: a live advantage, a decided group, and something to tell the teachers."""
        prompt_ids = unpadded(batch["prompt_ids"], batch["prompt_mask"])
        completion_ids = unpadded(batch["completion_ids"], batch["completion_mask"])
        images = row_images(batch, len(inputs))
        contexts = {}
        for row, reference in enumerate(references):
            group = groups.groups[groups.group_of(row)]
            told = reference.plus is not None and reference.minus_source != "grpo"
            if batch["advantages"][row] != 0 and told and _is_live(group.rollouts) and is_decided(group):
                contexts[row] = RowContext(
                    prompt=inputs[row]["prompt"],
                    prompt_ids=prompt_ids[row],
                    completion_ids=completion_ids[row],
                    images=images[row],
                    references=reference,
                )
        return contexts

    def _credit(
        self,
        batch: dict[str, Any],
        contexts: dict[int, RowContext],
        strength: float,
        step: int,
        traced: list[int],
    ) -> CreditedRows | None:
        if not strength > 0.0:
            return None
        requests = plan_scoring(
            contexts,
            self.method,
            self._prompts,
            self._image_token_id,
            sees_images=self.credit.teacher_sees_images,
            with_student=traced,
        )
        self.teacher.before_step(self._policy, step)
        scored = {}
        if requests:
            with self.teacher.in_place(self._policy):
                scored = run_scoring(
                    self._policy,
                    requests,
                    width=batch["completion_ids"].shape[1],
                    temperature=self.temperature,
                    rows_per_forward=self.args.score_rows_per_forward,
                    image_token_id=self._image_token_id,
                )
        mask = _loss_mask(batch)
        return assign_credit(
            contexts, scored, batch["advantages"], mask, self.method, strength, self.credit.credit_clip
        )

    def _log_credit(
        self,
        batch: dict[str, Any],
        groups: LocalGroups,
        references: list[References],
        contexts: dict[int, RowContext],
        credited: CreditedRows | None,
        strength: float,
    ) -> None:
        """The metrics of the credit, summed over processes, beside TRL's own."""
        mask, width = _loss_mask(batch), batch["completion_ids"].shape[1]
        evidence_BT = torch.zeros(len(references), width, device=mask.device)
        credited_B = torch.zeros(len(references), dtype=torch.bool, device=mask.device)
        if credited is not None and credited.rows:
            evidence_BT[credited.rows] = credited.credit.evidence_BT
            credited_B[credited.rows] = True
        sums = credit_sums(
            batch["advantages"].float(), evidence_BT, mask, credited_B, strength, self.credit.credit_clip
        )
        owned = {groups.group_of(row) for row in range(len(references)) if groups.place_in_group(row) == 0}
        counts = torch.tensor(
            [
                len(references),
                len(contexts),
                credited.nonfinite if credited else 0,
                sum(reference.minus_source in ("rlsd", "grpo") for reference in references),
                sum(reference.minus_is_own for reference in references),
                sum(reference.plus_source == "sibling" for reference in references),
                sum(reference.plus_source == "none" for reference in references),
                len(owned),
                sum(not is_decided(groups.groups[index]) for index in owned),
                sum(_has_no_wrong(groups.groups[index].rollouts) for index in owned),
            ],
            dtype=torch.float64,
            device=mask.device,
        )
        totals = self.accelerator.reduce(torch.cat([sums, counts]), reduction="sum")
        metrics = summarise(totals[: len(sums)])
        rows, scored, nonfinite, fallback, own, sibling, no_plus, all_groups, undecided, no_wrong = totals[
            len(sums) :
        ].tolist()
        metrics |= {
            "credit/rows_scored": scored / rows,
            "credit/rows_nonfinite": nonfinite / rows,
            "credit/rows_fallback": fallback / rows,
            "credit/rows_minus_own": own / rows,
            "credit/rows_plus_sibling": sibling / rows,
            "credit/rows_no_plus": no_plus / rows,
            "credit/groups_undecided": undecided / max(all_groups, 1),
            "credit/groups_no_minus": no_wrong / max(all_groups, 1),
        }
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    # --- records --------------------------------------------------------------------------------------------

    def _records_step(self) -> bool:
        return self.args.trace_groups > 0

    def _traced_rows(self, groups: LocalGroups, step: int, rows: int) -> list[int]:
        """Rows of a few of this process's groups, decided ones first; drawn by step, on the main process only."""
        if not self.accelerator.is_main_process or not self._records_step():
            return []
        indices = sorted(groups.groups)
        Random(f"traces/{self.args.seed}/{step}").shuffle(indices)
        indices.sort(key=lambda index: not is_decided(groups.groups[index]))
        chosen = set(indices[: self.args.trace_groups])
        return [row for row in range(rows) if groups.group_of(row) in chosen]

    def _record(
        self,
        inputs: Any,
        batch: dict[str, Any],
        groups: LocalGroups,
        references: list[References],
        credited: CreditedRows | None,
        traced: list[int],
        step: int,
        strength: float,
    ) -> None:
        if self._traces is None:
            self._traces = TraceWriter(
                self.args.run_folder / "traces",
                resume_step=step - 1,
                max_bytes=self.args.trace_max_mb * 2**20,
            )
        ids = {row: str(inputs[row].get("id") or _prompt_id(inputs[row]["prompt"])) for row in traced}
        texts = {row: completion_ids for row, completion_ids in enumerate(self._decoded_prompts(batch)) if row in ids}
        records = credit_records(
            traced,
            ids,
            texts,
            batch,
            groups,
            references,
            credited,
            self._tokenizer,
            self.method.name,
            step,
            strength,
            self.credit.credit_clip,
        )
        self._traces.write_step(records, [_first_image(inputs[row]) for row in traced])

    def _decoded_prompts(self, batch: dict[str, Any]) -> list[str]:
        rows = unpadded(batch["prompt_ids"], batch["prompt_mask"])
        kept = [[token for token in row if token != self._image_token_id] for row in rows]
        return [str(text) for text in self._tokenizer.batch_decode(kept)]

    # --- small things ---------------------------------------------------------------------------------------

    @property
    def _policy(self) -> torch.nn.Module:
        """The policy without its distributed wrapper: scoring runs outside of gradient synchronisation."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True)

    @property
    def _image_token_id(self) -> int | None:
        processor = self.processing_class
        return cast(Any, processor).image_token_id if isinstance(processor, ProcessorMixin) else None

    def _render(self, prompt: Any) -> str:
        if isinstance(prompt, str):
            return prompt
        messages = prepare_multimodal_messages(prompt) if self._is_vlm else prompt
        return cast(Any, self.processing_class).apply_chat_template(
            messages,
            tools=self.tools or None,
            chat_template=self.chat_template,
            add_generation_prompt=True,
            tokenize=False,
            **cast(dict[str, Any], self.chat_template_kwargs),
        )

    def _template(self) -> str | None:
        template = self.credit.reference_template
        if template is None and self.credit.reference_form == "rationale" and self.credit.prompt_style == "user":
            return RATIONALE_TEMPLATE
        return template

    # --- checkpoints ----------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save and self.method.teachers:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            self.teacher.save(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.method.teachers:
            self.teacher.load(Path(checkpoint), self._policy)


class _MoveTeacher(TrainerCallback):
    """Moves an EMA teacher after each optimiser step."""

    def __init__(self, trainer: CEPOTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.teacher.after_step(self.trainer._policy)


def _guarded(function: Any, timeout_s: float) -> Any:
    """Guard callables; reward models (modules, or names of models to load) are TRL's to call."""
    if function is None or isinstance(function, (str, torch.nn.Module)):
        return function
    return guard_reward(function, timeout_s)


def _is_live(rollouts: tuple[Rollout, ...]) -> bool:
    """Whether rewards differ: a group of equal rewards can keep a rounding residue as its advantage."""
    return len({rollout.reward for rollout in rollouts}) > 1


def _has_no_wrong(rollouts: tuple[Rollout, ...]) -> bool:
    return not any(rollout.correct is False and rollout.answer is not None for rollout in rollouts)


def _loss_mask(batch: dict[str, Any]) -> Tensor:
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _prompt_id(prompt: Any) -> str:
    return hashlib.sha256(repr(prompt).encode()).hexdigest()[:16]


def _first_image(row: dict[str, Any]) -> Any:
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return images[0] if images else None
