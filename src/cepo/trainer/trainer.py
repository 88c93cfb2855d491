"""`CEPOTrainer`: TRL's GRPOTrainer with one hook, in which advantages (B,) become advantages (B, T)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import DistributedType, gather_object
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback
from trl import GRPOTrainer

from cepo.credit.groups import (
    LocalGroups,
    gather_groups,
    grade_rollouts,
    row_references,
)
from cepo.credit.rules import Knobs, get_method
from cepo.credit.step import (
    CreditedRows,
    RowContext,
    ScoreRequest,
    assign_credit,
    live_contexts,
    plan_scoring,
    run_scoring,
)
from cepo.data.guards import guard_reward
from cepo.data.rewards import completion_text
from cepo.glossary import References, Rollout
from cepo.models.processor import load_processor
from cepo.scoring import Forwards, count_forwards
from cepo.trainer.checks import check_folder, check_resampling, check_vllm, preflight
from cepo.trainer.completions import credit_columns
from cepo.trainer.config import CEPOConfig
from cepo.trainer.generation import never_sample_an_image
from cepo.trainer.metrics import CreditCount, credit_metrics, loss_mask
from cepo.trainer.micro_batch import without_dead_rows
from cepo.trainer.null import null_contexts, null_level
from cepo.trainer.phases import PhaseClock
from cepo.trainer.prompting import credit_prompts, distillation_of
from cepo.trainer.recorder import StepRecorder
from cepo.trainer.resample import resample

__all__ = ["CEPOTrainer", "last_checkpoint"]

COMPLETE = "cepo_complete"
"""Written last into a checkpoint: without it a kill came in between, and the checkpoint is not resumed from."""


class CEPOTrainer(GRPOTrainer):
    """Used exactly as TRL's GRPOTrainer, with a `CEPOConfig`. `method='grpo'` is TRL's own update, bit for bit.

    Raises:
        ValueError: whatever `cepo.trainer.checks` finds wrong with data, lengths, rewards or the run folder,
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
        check_vllm(args)
        if kwargs.get("processing_class") is None and isinstance(model, str):
            kwargs["processing_class"] = load_processor(model, trust_remote_code=args.trust_remote_code)
        functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
        guarded = [_guarded(function, args.reward_timeout) for function in functions]
        super().__init__(model, cast(Any, guarded), args, **kwargs)
        never_sample_an_image(self, self._image_token_id)
        self.method = get_method(args.method)
        self.credit = args.credit
        self.teacher = args.credit.teacher()
        self.last_rewards: Tensor | None = None
        self.last_completions: list[Any] = []
        self._prompts = credit_prompts(self)
        self._clock = PhaseClock()
        if args.resample_dead_groups:
            check_resampling(self)
        self._distillation = distillation_of(self) if self.method.objective == "distillation" else None
        self._recorder = StepRecorder(args, cast(PreTrainedTokenizerBase, self._tokenizer), self._image_token_id)
        preflight(self)
        if self.method.teachers:
            self.teacher.start(self._policy)
            self.add_callback(_MoveTeacher(self))

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """TRL's, with [] where a prompt has no image and another has: the processor takes no None among images."""
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        return prompt_ids, images and [own or [] for own in images], fields

    # --- the hook -------------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """TRL's rewards, kept: the batch that it returns does not hold them."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.last_rewards, self.last_completions = rewards, completions
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        with self._clock.phase("generation"):
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            if not cast(torch.nn.Module, self.model).training:
                return batch
            generate = super()._generate_and_score_completions
            for attempt in range(self.args.resample_dead_groups):
                replaced = resample(self, generate, inputs, batch, attempt)
                if replaced is None:
                    break
                inputs, batch = replaced
        with self._clock.phase("credit"):
            return self._with_credit(inputs, batch)

    def _with_credit(self, inputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """The paper's algorithm box: advantages (B,) of a generated batch become (B, T)."""
        step = self.state.global_step + 1
        strength = self.credit.strength(step) if self.method.assign else 0.0
        if self._distillation is None:
            self._metrics["train"]["credit/lambda"].append(strength)
        wants_credit = strength > 0.0
        if not wants_credit and not self._recorder.wanted and self._distillation is None:
            self._log_columns(len(inputs), batch, None, [])
            return batch
        groups = self._groups(inputs)
        if self._distillation is not None:
            self._distillation.with_teachers(inputs, batch, groups)
            taught = cast(Tensor, self.accelerator.gather(batch["taught"]))
            self._metrics["train"]["distill/rows_taught"].append(taught.mean().item())
        references = row_references(
            groups,
            len(inputs),
            self.credit.reference_policy(self.args.seed),
            step,
            "minus" in self.method.teachers,
        )
        contexts = live_contexts(inputs, batch, groups, references) if wants_credit else {}
        traced = self._recorder.choose(groups, step, len(inputs)) if self.accelerator.is_main_process else []
        credited = self._credit(batch, groups, contexts, strength, step, traced)
        if wants_credit:
            self._log_credit(
                CreditCount(batch, groups, references, len(contexts), credited, strength, self.credit.credit_clip)
            )
        if traced:
            self._recorder.write(inputs, batch, groups, references, credited, traced, step, strength)
        self._log_columns(len(inputs), batch, credited, references)
        if credited is not None and credited.rows:
            advantage_BT = batch["advantages"][:, None].repeat(1, batch["completion_ids"].shape[1])
            advantage_BT[credited.rows] = credited.credit.advantage_BT.to(advantage_BT.dtype)
            batch["advantages"] = advantage_BT
        return batch

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        with self._clock.phase("update"):
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            for name, seconds in self._clock.collect().items():
                self._metrics["train"][name].append(seconds)
        return loss

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        if self._distillation is not None:
            windows = cast(int, self.args.steps_per_generation) / self.current_gradient_accumulation_steps
            loss = self._distillation.loss(model, self._policy, inputs, self.accelerator.num_processes * windows)
            everywhere = cast(Tensor, self.accelerator.gather(loss.detach()))
            self._metrics["train"]["distill/loss"].append(everywhere.mean().item())
            return loss
        if self.args.skip_dead_groups:
            inputs = without_dead_rows(inputs, self.accelerator)
        return super()._compute_loss(model, inputs)

    def total_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards (B, R) by function, weighted and added, (B,)."""
        return (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)

    # --- its parts ------------------------------------------------------------------------------------------

    def _groups(self, inputs: list[dict[str, Any]]) -> LocalGroups:
        rewards = cast(Tensor, self.last_rewards)
        total = self.total_rewards(rewards)
        here = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        verdict = None
        if self.args.wrong_reward is not None:
            verdict = rewards[here, self.reward_func_names.index(self.args.wrong_reward)].tolist()
        golds = [_text_or_none(row.get(self.args.answer_column)) for row in inputs]
        solutions = [_text_or_none(row.get(self.args.solution_column)) for row in inputs]
        texts = [completion_text(completion) for completion in self.last_completions]
        local: list[Rollout] = grade_rollouts(texts, golds, total[here].tolist(), verdict, self.args.wrong_below)
        return gather_groups(
            local, golds, solutions, self.args.group_size, self.accelerator.process_index, gather_object
        )

    def _credit(
        self,
        batch: dict[str, Any],
        groups: LocalGroups,
        contexts: dict[int, RowContext],
        strength: float,
        step: int,
        traced: list[int],
    ) -> CreditedRows | None:
        if not strength > 0.0:
            return None
        rows = self._null_rows(step)
        null = null_contexts(contexts, groups, rows, f"{self.args.seed}/{step}") if rows else {}
        plan = partial(
            plan_scoring,
            method=self.method,
            prompts=self._prompts,
            image_token_id=self._image_token_id,
            sees_images=self.credit.teacher_sees_images,
        )
        requests = plan(contexts, with_student=traced) + plan(null)
        self.teacher.before_step(self._policy, step)
        scored = self._score(requests, batch)
        level = null_level(null, scored) if rows else None
        if level is not None:
            for name, value in level.metrics().items():
                self._metrics["train"][name].append(value)
        knobs = Knobs(strength, self.credit.credit_clip, self.credit.dead_zone(level.p90 if level else None))
        return assign_credit(contexts, scored, batch["advantages"], loss_mask(batch), self.method, knobs)

    def _null_rows(self, step: int) -> int:
        every = 1 if self.credit.evidence_dead_zone == "auto" else self.args.null_control_every
        return self.args.null_control_rows if every and (step - 1) % every == 0 else 0

    def _score(self, requests: list[ScoreRequest], batch: dict[str, Any]) -> dict[tuple[int, str, int], Tensor]:
        """The teachers' log-probs; where weights are sharded, every process runs equally many forwards."""
        budget = self.args.score_tokens_per_forward
        forwards = None
        if self._weights_are_sharded:
            own = count_forwards(
                self._policy,
                [r.sequence for r in requests],
                tokens_per_forward=budget,
                image_token_id=self._image_token_id,
            )
            everyone = self.accelerator.gather(torch.tensor([own], device=self.accelerator.device))
            forwards = Forwards(*cast(Tensor, everyone).amax(dim=0).tolist())
        if not requests and not any(forwards or ()):
            return {}
        with self.teacher.in_place(self._policy):
            return run_scoring(
                self._policy,
                requests,
                width=batch["completion_ids"].shape[1],
                temperature=self.temperature,
                tokens_per_forward=budget,
                image_token_id=self._image_token_id,
                precision=self.credit.credit_precision,
                forwards=forwards,
            )

    def _log_credit(self, counted: CreditCount) -> None:
        """The metrics of the credit, summed over processes, beside TRL's own."""
        totals = self.accelerator.reduce(counted.sums(), reduction="sum")
        for name, value in credit_metrics(cast(Tensor, totals)).items():
            self._metrics["train"][name].append(value)

    def _log_columns(
        self, rows: int, batch: dict[str, Any], credited: CreditedRows | None, references: list[References]
    ) -> None:
        """The credit beside TRL's own table of completions (`log_completions`): file, wandb, trackio."""
        if self.log_completions and self.method.assign is not None:
            tokenizer = cast(PreTrainedTokenizerBase, self._tokenizer)
            for name, values in credit_columns(rows, batch, credited, references, tokenizer).items():
                self._logs["extra"][name].extend(gather_object(values))

    # --- small things ---------------------------------------------------------------------------------------

    @property
    def _policy(self) -> torch.nn.Module:
        """The policy without its distributed wrapper: scoring runs outside of gradient synchronisation."""
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True)

    @property
    def _weights_are_sharded(self) -> bool:
        """Whether a forward is collective, as under ZeRO-3 and FSDP."""
        kind, plugin = self.accelerator.distributed_type, self.accelerator.state.deepspeed_plugin
        return kind == DistributedType.FSDP or (plugin is not None and plugin.zero_stage == 3)

    @property
    def _image_token_id(self) -> int | None:
        processor = self.processing_class
        return cast(Any, processor).image_token_id if isinstance(processor, ProcessorMixin) else None

    # --- checkpoints ----------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            if self.method.teachers:
                self.teacher.save(folder)
            (folder / COMPLETE).touch()

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


def last_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint of a run folder; None: there is none."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def _guarded(function: Any, timeout_s: float) -> Any:
    """Guard callables; reward models (modules, or names of models to load) are TRL's to call."""
    if function is None or isinstance(function, (str, torch.nn.Module)):
        return function
    return guard_reward(function, timeout_s)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)
