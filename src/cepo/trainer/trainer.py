"""`CEPOTrainer`: TRL's GRPOTrainer with one hook, in which advantages (B,) become advantages (B, T)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from datasets import IterableDataset
from torch import Tensor, nn

from cepo.answers import grader_timeouts
from cepo.credit.groups import row_references
from cepo.credit.metrics import credit_metrics, step_sums
from cepo.credit.references import columns_of
from cepo.credit.rules import Distillation, Knobs, Rule, get_method
from cepo.credit.step import (
    Asking,
    Logps,
    Row,
    StepCredit,
    assign_credit,
    credited_rows,
    logps_by_prompt,
    plan_scoring,
    student_sequence,
)
from cepo.data.feedback import Feedback
from cepo.data.rewards import told_apart
from cepo.data.scores import TokenScores, scores_of
from cepo.errors import SettingError
from cepo.glossary import Completion
from cepo.scoring.weights import Part, Teacher
from cepo.trainer.along import AlongTraining
from cepo.trainer.balance.batches import Balancer
from cepo.trainer.balance.padding import PaddingCheck
from cepo.trainer.batch import Batch, RawBatch
from cepo.trainer.checks import preflight
from cepo.trainer.completions import credit_columns
from cepo.trainer.config import CEPOConfig
from cepo.trainer.distillation import DistillationLoss
from cepo.trainer.fitting import fitting_stream
from cepo.trainer.grading import Grader
from cepo.trainer.image_checks import FirstImages, check_other_layout
from cepo.trainer.internals import Generate, HostTrainer, Loss, check_kernels
from cepo.trainer.micro_batch import without_dead_rows
from cepo.trainer.null import NullLevel, has_null, is_due, null_level, null_references
from cepo.trainer.other_teachers import OtherTeachers
from cepo.trainer.phases import PhaseClock
from cepo.trainer.probing import Probing, plain_text, probe_rows
from cepo.trainer.prompt_host import Rows
from cepo.trainer.recorder import StepRecorder
from cepo.trainer.resample import Drawn, Graded
from cepo.trainer.sampling import Sampling
from cepo.trainer.scorer import Scorer
from cepo.trainer.silence import Silence, check_told
from cepo.trainer.starting import check_before_model, check_with_model, guarded_rewards, ready, subject_of
from cepo.trainer.teacher_specs import DEFAULT
from cepo.trainer.teacher_view import refuse_rewritten

__all__ = ["CEPOTrainer"]


class CEPOTrainer(HostTrainer):
    """Used exactly as TRL's GRPOTrainer, with a `CEPOConfig`. `method='grpo'` is TRL's own update, bit for bit.

    Raises:
        CepoError: whatever `cepo.trainer.checks` finds wrong with data, lengths, rewards or the run folder,
            before anything is generated.
    """

    args: CEPOConfig

    def __init__(
        self, model: Any, reward_funcs: Any = None, args: CEPOConfig | None = None, *others: Any, **kwargs: Any
    ) -> None:
        args = CEPOConfig(output_dir="cepo-run") if args is None else args
        if not isinstance(args, CEPOConfig):
            raise SettingError(f"args must be a CEPOConfig, got {type(args).__name__}; it takes every GRPOConfig field")
        check_before_model(args)
        check_kernels(args.device)
        self._token_scores, self._feedback = TokenScores(), Feedback()
        rewards = guarded_rewards(reward_funcs, args, self._token_scores.add, self._feedback.add)
        super().__init__(model, cast(Any, rewards), args, **ready(self.named(others, kwargs), model, args))
        self.reward_func_names = told_apart(self.reward_func_names, args.wrong_reward)
        self.never_sample_an_image()
        self.method = get_method(args.method)
        self.credit = args.credit
        self.teacher = Teacher() if DEFAULT in args.teacher_specs else args.credit.teacher()
        self.views = self.teacher_views(args.teacher_template)
        render = self.views.host.render if self.views.other_template else self.render
        self.prompts = args.credit.teacher_prompts(self.tokenizer, render)
        self.scorer = Scorer(
            policy=lambda: self.policy, teacher=self.teacher, accelerator=self.accelerator,
            image_token_id=self.image_token_id, temperature=self.temperature, precision=self.credit.credit_precision,
            tokens_per_forward=args.score_tokens_per_forward, is_sharded=self.weights_are_sharded,
            balance=args.balance_batch and self.accelerator.num_processes > 1,
        )  # fmt: skip
        self._balancer = Balancer.of(args, self.accelerator, self.pad_id)
        self._graded: Graded | None = None
        self._clock = PhaseClock()
        self._silence = Silence()
        self._first_images = FirstImages(self.encoded, wanted=self.asks_teacher and not self.rewrites_prompts)
        check_with_model(args, self)
        specs = args.teacher_specs if self.asks_teacher else {}
        self.others = OtherTeachers.load(specs, self.scorer, self.tokenizer, args.trust_remote_code)
        self._distillation = self._distilling() if isinstance(self.method, Distillation) else None
        self._recorder = StepRecorder(args, self.tokenizer, self.image_token_id)
        told = columns_of(self.method.references)
        self._grader = Grader(args, told, self.reward_func_names, self.total_rewards)
        self._sampling = Sampling(
            args, self.train_dataset, self.accelerator, self.pad_id, self.total_rewards,
            self._grader.verdicts, self.log_step,
        )  # fmt: skip
        subject = subject_of(self)
        preflight(subject)
        if isinstance(self.train_dataset, IterableDataset):
            self.train_dataset = fitting_stream(subject, self.train_dataset)
        self._token_scores.take()  # what the checks' own calls of reward functions left
        self._feedback.take()
        if self.asks_teacher:
            self.teacher.check(self.policy)
            self.add_callback(AlongTraining(self))
            if not self.weights_are_sharded:
                self.teacher.start(self.policy)
                self.probe()
        if self._balancer is not None:
            check = PaddingCheck(lambda: self.policy, plain_text(self.tokenizer))
            self.add_callback(check) if self.weights_are_sharded else check()

    # --- TRL's hooks ------------------------------------------------------------------------------------------

    def make_batch(self, inputs: Rows, generate: Generate) -> RawBatch:
        """Rollouts, rewards and advantages are TRL's; then the credit of every token."""
        unanswered = grader_timeouts()
        batch = self._made(inputs, generate)
        late = torch.tensor(grader_timeouts() - unanswered, device=self.accelerator.device)
        self.log_step("reward/grader_timeouts", self._total(late).item(), "train" if self.is_training else "eval")
        return batch

    def _made(self, inputs: Rows, generate: Generate) -> RawBatch:
        def drawn(rows: Rows) -> Drawn:
            batch = Batch(generate(rows))
            return Drawn(rows, batch, cast(Graded, self._graded))

        if not self.is_training:
            with self._clock.aside(), self._clock.phase("generation"):
                return generate(inputs)
        with self._clock.phase("generation"):
            check_told(inputs, self.args, bool(self.method.references))
            found = self._sampling(inputs, drawn, self.state.global_step)
        with self._clock.phase("credit"):
            self._first_images(found.batch, found.inputs)
            return self._with_credit(found).raw

    def micro_batches(self, batches: Sequence[RawBatch]) -> Sequence[RawBatch]:
        with self._clock.phase("update"):
            return self._balancer(batches) if self._balancer else batches

    def rewarded(self, rewards: Tensor, completions: list[Completion]) -> None:
        first = self.accelerator.process_index * len(completions)
        own = rewards[first : first + len(completions)]
        self._graded = Graded(own, completions, self._token_scores.take(), self._feedback.take())

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        with self._clock.phase("update"):
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            for name, seconds in self._clock.collect().items():
                self.log_step(name, seconds)
        return loss

    def loss_of(self, model: nn.Module, inputs: RawBatch, loss: Loss) -> Tensor:
        if self._distillation is not None and self.is_training:  # an evaluation's rows have no teacher
            windows = cast(int, self.args.steps_per_generation) / self.current_gradient_accumulation_steps
            own = self._distillation.loss(model, self.policy, Batch(inputs), self.accelerator.num_processes * windows)
            everywhere = cast(Tensor, self.accelerator.gather(own.detach()))
            self.log_step("distill/loss", everywhere.mean().item())
            return own
        if self.args.skip_dead_groups and self._balancer is None:
            inputs = without_dead_rows(Batch(inputs), self.accelerator).raw
        return loss(model, inputs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's own; whatever ends it, the records of its steps are on disk."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self._recorder.flush()

    def checkpoint_written(self, folder: Path) -> None:
        self._recorder.flush()
        self._sampling.save(folder, self.state.global_step)
        if self.asks_teacher and (self.weights_are_sharded or self.args.should_save):
            self.teacher.save(folder, self._part)

    def checkpoint_loaded(self, folder: Path) -> None:
        self._sampling.load(folder)
        if self.asks_teacher:
            self.teacher.load(folder, self.policy, self._part)

    @property
    def _part(self) -> Part | None:
        """Which part of the weights lies on this process; None: all."""
        return (self.accelerator.process_index, self.accelerator.num_processes) if self.weights_are_sharded else None

    # --- the paper's algorithm box ----------------------------------------------------------------------------

    def _with_credit(self, drawn: Drawn) -> Batch:
        """Advantages (B,) of a generated batch become (B, T)."""
        number, batch = self.state.global_step + 1, drawn.batch
        gives_credit = isinstance(self.method, Rule) and self.method.assign is not None
        knobs = self.credit.knobs(number) if gives_credit else Knobs(0.0, 0.0)
        if self._distillation is None:
            self.log_step("credit/lambda", knobs.strength)
        if not knobs.strength and not self._recorder.wanted and self._distillation is None:
            self._log_columns(batch, None)
            return batch
        groups = self._grader.groups(drawn, self.accelerator.process_index)
        if self.method.references:
            self._silence.heard(batch, groups)
        policy = self.credit.reference_policy(self.args.seed)
        references = row_references(groups, self.method.references, policy, number)
        if self._distillation is not None:
            rows = self._shown(batch.rows([row["prompt"] for row in drawn.inputs], groups), drawn)
            batch = self._distillation.with_teachers(rows, batch, references)
            taught = cast(Tensor, self.accelerator.gather(batch.taught))
            self.log_step("distill/rows_taught", taught.mean().item())
        step = StepCredit(number, self.method, knobs, groups, references, control=self.credit.control(self.args.seed))
        traced = self._recorder.choose(groups, number) if self.accelerator.is_main_process else []
        if knobs.strength:
            step = self._credited(step, drawn, traced)
            totals = self.accelerator.reduce(step_sums(step, batch.advantages, batch.loss_mask), reduction="sum")
            for name, value in credit_metrics(cast(Tensor, totals)).items():
                self.log_step(name, value)
        if traced:
            self._recorder.write(drawn.inputs, batch, step, traced)
        self._log_columns(batch, step)
        return batch.with_credit(step)

    def _shown(self, rows: Sequence[Row], drawn: Drawn) -> list[Row]:
        """The rows with what their teachers are shown."""
        shown = self.views.shown(rows, drawn.inputs)
        if self.rollout_func is not None:
            refuse_rewritten(shown, drawn.inputs, self.prompt_ids)
        return shown

    def _credited(self, step: StepCredit, drawn: Drawn, traced: Sequence[int]) -> StepCredit:
        """The step with the credit of the rows that get one (a collective call)."""
        rule, batch = cast(Rule, step.method), drawn.batch
        rows = batch.rows([row["prompt"] for row in drawn.inputs], step.groups, self._scores(rule, drawn))
        chosen = self._shown(credited_rows(rule, rows, step.groups, step.references), drawn)
        logps, level = self._score(step, rule, chosen, batch.width, traced)
        entropy = {}
        if "entropy" in rule.reads:
            found_NT = self.scorer.entropy([student_sequence(row) for row in chosen], batch.width)
            entropy = {row.index: entropy_T for row, entropy_T in zip(chosen, found_NT, strict=True)}
        step = replace(step, knobs=self.credit.knobs(step.step, level.p90 if level else None))
        return assign_credit(step, chosen, logps, batch.advantages, batch.loss_mask, entropy, self._total)

    def _score(
        self, step: StepCredit, rule: Rule, rows: Sequence[Row], width: int, traced: Sequence[int]
    ) -> tuple[Logps, NullLevel | None]:
        """Log-probs of the rows that get credit and, at some steps, the level of a null contrast, in one scoring."""
        wanted = self._null_rows(step.step) if has_null(rule) else 0
        nulls = {}
        if wanted:
            seed = f"{self.args.seed}/{step.step}"
            nulls = null_references(rule, rows, step.groups, wanted, seed, gather_object)
        null_rows = {row.index: row for row in rows if row.index in nulls}
        asking = Asking(self.prompts, self.image_token_id, self.credit.teacher_sees_images)
        own = plan_scoring(rows, step.references, rule, asking, with_student=traced)
        alone = list(nulls) if len(rule.references) == 1 else []
        null = plan_scoring(list(null_rows.values()), nulls, rule, asking, with_student=alone)
        found_NT = self.others.score([*own, *null], width, self.scorer, self.accelerator.device)
        level = None
        if wanted:
            level = null_level(rule, null_rows, logps_by_prompt(null, found_NT[len(own) :], nulls), gather_object)
            for name, value in level.metrics().items() if level else ():
                self.log_step(name, value)
        return logps_by_prompt(own, found_NT[: len(own)], step.references), level

    def _total(self, local: Tensor) -> Tensor:
        """The sum over processes (a collective call)."""
        return cast(Tensor, self.accelerator.reduce(local, reduction="sum"))

    def _scores(self, rule: Rule, drawn: Drawn) -> dict[int, list[float]]:
        """Per-token scores from outside, of the rows that have them, where the rule reads them."""
        if "scores" not in rule.reads:
            return {}
        completions, decode = drawn.batch.completions(), cast(Callable[[list[int]], str], self.tokenizer.decode)
        return {row: scores_of(rewards, completions[row], decode) for row, rewards in drawn.graded.scores.items()}

    def _null_rows(self, step: int) -> int:
        every = 1 if self.credit.evidence_dead_zone == "auto" else self.args.null_control_every
        return self.args.null_control_rows if is_due(step, every, self.steps_per_batch) else 0

    @property
    def asks_teacher(self) -> bool:
        """Whether anything is ever scored: also a rule that reads no prompt has the student's in its records."""
        return isinstance(self.method, Distillation) or self.method.assign is not None

    @property
    def told(self) -> tuple[str, ...]:
        """The prompts that tell something of the problem."""
        return tuple(self.method.references)

    @property
    def is_generating(self) -> bool:
        return self._clock.running == "generation"

    @property
    def failed_in(self) -> str | None:
        """The phase that an error ended: generation, credit or update."""
        return self._clock.failed_in

    # --- its parts --------------------------------------------------------------------------------------------

    def total_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards (B, R) by function, weighted and added, (B,)."""
        return (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)

    def _log_columns(self, batch: Batch, step: StepCredit | None) -> None:
        """The credit beside TRL's own table of completions (`log_completions`): file, wandb, trackio."""
        if self.log_completions and isinstance(self.method, Rule) and self.method.assign is not None:
            for name, values in credit_columns(batch, self.method.references, step, self.tokenizer).items():
                self.log_table(name, values)

    def _distilling(self) -> DistillationLoss:
        return DistillationLoss(
            method=cast(Distillation, self.method), settings=self.credit, teacher=self.teacher, prompts=self.prompts,
            accelerator=self.accelerator, image_token_id=self.image_token_id, temperature=self.temperature,
            is_sharded=self.weights_are_sharded, other=self.others.models.get(DEFAULT),
        )  # fmt: skip

    def probe(self) -> None:
        """Compare what scores with the model's own forward: before the run, or once its weights are sharded."""
        rows = probe_rows(self.train_dataset, self.encoded, self.tokenizer, self.image_token_id, self.views)
        check_other_layout(rows, self.train_dataset, self.weights_are_sharded, self.made_together)
        completion = self.args.max_completion_length or 0
        probing = Probing(self.teacher, self.temperature, self.credit.credit_precision, self.image_token_id, completion)
        found = probing(self.policy, rows)
        self.scorer = replace(self.scorer, share=found.shares)
        for name, floor in self.others.probe(rows, replace(probing, teacher=None)).items():
            self.log_step(f"teacher/{name}_floor", floor)
        if self._distillation is not None:
            self._distillation.check(self.policy, rows)
