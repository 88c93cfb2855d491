"""`CEPOConfig`: TRL's GRPOConfig and a short flat list of fields of our own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from trl import GRPOConfig

from cepo.answers import Grading
from cepo.credit.rules import Distillation, Method, Rule, get_method
from cepo.credit.settings import CreditSettings
from cepo.errors import SettingError
from cepo.reports.recorder import TRACE_GROUPS, TRACE_MAX_MB
from cepo.trainer.options import refuse_options
from cepo.trainer.teacher_specs import parse_teachers, refuse_teachers

__all__ = ["CEPOConfig"]


def _credit(help_text: str):
    """A credit field: None takes the preset's value."""
    return field(default=None, metadata={"help": f"{help_text} Default: the preset's."})


@dataclass
class CEPOConfig(GRPOConfig):
    """Used as TRL's GRPOConfig. A credit field that is None takes the value of `preset`; `credit` holds the result.

    Raises:
        ValueError: an unknown method or preset, a credit value out of range, or a TRL setting that would
            ignore or misuse one advantage per token.
    """

    method: str = field(
        default="cepo",
        metadata={
            "help": "grpo, rlsd, cepo, another of docs/rules.md (opsd, sdpo, ...), or one of your own (cepo.register)."
        },
    )
    preset: str = field(default="default", metadata={"help": "default, paper or released-code."})
    credit_strength: float | None = _credit("lambda_0 in [0, 1].")
    credit_schedule: str | None = _credit("linear or constant.")
    credit_decay_steps: int | None = _credit("Steps until lambda reaches 0 (linear).")
    credit_clip: float | None = _credit("eps_w in [0, 1).")
    rule_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "The rule's own settings, {name: value} (docs/rules.md). Default: the rule's."}
    )
    credit_control: str | None = _credit(
        "off, or the rule's credit without its evidence: permuted, mass or random (docs/rules.md)."
    )
    credit_mix: float | None = _credit("Share of a row's tokens that change places under `permuted`.")
    reference_minus: str | None = _credit("own, sampled, worst, common, marginal, or word_none (the released fault).")
    reference_form: str | None = _credit("answer or rationale.")
    reference_max_tokens: int | None = _credit(
        "Tokens of a told solution or feedback that are shown, from its start; 0: all."
    )
    reference_fallback: str | None = _credit("Without an admissible r-: rlsd or grpo.")
    reference_allow_self: bool | None = _credit("Whether a wrong row may be told its own answer.")
    reference_count: int | None = _credit("K of the marginal policy.")
    feedback_max_chars: int | None = _credit("Characters of a rollout's feedback that a teacher reads (sdpo_feedback).")
    prompt_style: str | None = _credit("user or prefill.")
    reference_template: str | None = _credit("Text around {reference}.")
    teacher_weights: str | None = _credit("live, frozen, synced, ema or base.")
    teacher_sync_every: int | None = _credit("Steps between copies (synced).")
    teacher_ema_rate: float | None = _credit("Rate in (0, 1] (ema).")
    teacher_sees_images: bool | None = _credit("False blinds the teachers, as the authors' release does.")

    credit_precision: str | None = _credit("Precision of the evidence: tf32, float32 or bfloat16.")
    evidence_dead_zone: str | None = _credit("off, auto or nats: evidence below it is nothing.")
    distill_beta: float | None = _credit("b of the generalised JSD in [0, 1] (opsd, sdpo).")
    distill_top_k: int | None = _credit("Tokens compared (opsd: 0, the vocabulary; sdpo: 100 and a tail).")
    distill_ratio_clip: float | None = _credit("Bound of the importance weight (sdpo: 2); 0: none.")

    teachers: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Teachers that are not the policy (docs/teachers.md): a checkpoint, or {name: {model, dtype, "
            "device}}, or {name: {server, model, precision}}. `default` reads in the policy's place."
        },
    )
    teacher_chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Arguments of the chat template for teachers alone: {enable_thinking: true}. They stand above "
            "chat_template_kwargs."
        },
    )
    answer_format: str = field(
        default="boxed",
        metadata={
            "help": "Where the answer stands: boxed, tags (<answer>), phrase (The answer is) or auto (docs/grader.md). "
            "Prompts, rewards, r- and evaluations follow."
        },
    )
    grader: str = field(default="cepo", metadata={"help": "cepo, or math_verify: TRL's accuracy reward, to compare."})
    thinking_counts: bool = field(default=False, metadata={"help": "Whether an answer inside of <think> counts."})
    answer_column: str = field(default="answer", metadata={"help": "Column with the gold answer."})
    solution_column: str = field(
        default="solution",
        metadata={"help": "Column with a worked solution (reference_form=rationale), if any."},
    )
    wrong_reward: str | None = field(
        default=None,
        metadata={
            "help": "Name of a reward that decides what is wrong, instead of the grader (needed without answers)."
        },
    )
    wrong_below: float = field(default=0.5, metadata={"help": "With wrong_reward: rollouts below it are wrong."})
    skip_dead_groups: bool = field(
        default=False,
        metadata={"help": "Leave rows with advantage 0 out of the policy's update: the same gradient, less work."},
    )
    balance_batch: bool = field(
        default=False,
        metadata={
            "help": "Deal live rows by length over processes and micro-batches, and share the scoring: the same "
            "gradient with less waiting and padding. With skip_dead_groups."
        },
    )
    resample_dead_groups: int = field(
        default=0,
        metadata={"help": "Tries to replace groups of equal rewards by fresh problems (dynamic sampling); 0: never."},
    )
    pass_rate_low: float = field(
        default=0.0, metadata={"help": "Groups with a lower pass rate are replaced, as dead ones are, or rest."}
    )
    pass_rate_high: float = field(
        default=1.0, metadata={"help": "Groups with a higher pass rate are replaced, as dead ones are, or rest."}
    )
    curriculum_rest: int = field(
        default=0,
        metadata={"help": "Steps for which a problem rests whose pass rate lay outside of the two above; 0: never."},
    )
    null_control_every: int = field(
        default=10, metadata={"help": "Steps between null controls (the noise floor of the evidence); 0: never."}
    )
    null_control_rows: int = field(default=4, metadata={"help": "Rows of one null control."})
    score_tokens_per_forward: int = field(
        default=8192, metadata={"help": "Padded tokens of one teacher forward: bounds the memory of scoring."}
    )
    reward_timeout: float = field(
        default=120.0,
        metadata={
            "help": "Seconds that one call of a reward may take, in a thread; 0: in the caller's thread, without limit."
        },
    )
    trace_groups: int = field(
        default=TRACE_GROUPS, metadata={"help": "Groups per step whose credit is recorded; 0: none."}
    )
    trace_max_mb: int = field(default=TRACE_MAX_MB, metadata={"help": "Bound on the size of the credit records, MiB."})

    def __post_init__(self) -> None:
        method = get_method(self.method)
        self.credit = CreditSettings.resolve(
            self.preset,
            self.method,
            {entry.name: getattr(self, entry.name) for entry in fields(CreditSettings)},
        )
        if self.num_generations is not None and self.num_generations < 2:
            raise SettingError(
                f"num_generations={self.num_generations}: an advantage compares the rollouts of one problem, so a "
                "group needs at least 2"
            )
        if isinstance(self.teacher_chat_template_kwargs, str):
            self.teacher_chat_template_kwargs = _mapping(self.teacher_chat_template_kwargs)
        self.teacher_specs = parse_teachers(self.teachers)
        self.grading = Grading(cast(Any, self.answer_format), cast(Any, self.grader), self.thinking_counts)
        super().__post_init__()
        _refuse_out_of_range(self)
        _refuse_stop_strings(self)
        refuse_options(self, method)
        refuse_teachers(self.teacher_specs, method, self)
        if isinstance(method, Distillation) or method.assign is not None:
            _refuse_missing_columns(self)
        if isinstance(method, Distillation):
            _warn_of_uncorrected(self)
        if isinstance(method, Distillation) and method.support == "student_tail" and self.credit.distill_top_k < 1:
            raise SettingError(f"method={self.method!r} compares the student's top k: distill_top_k must be at least 1")
        if isinstance(method, Rule):
            _refuse_misread(self, method)
        _refuse_unbalanced(self, method)

    @property
    def teacher_template(self) -> Mapping[str, Any]:
        """The teachers' own arguments of the chat template."""
        return cast(dict[str, Any], self.teacher_chat_template_kwargs or {})

    @property
    def has_band(self) -> bool:
        """Whether pass rates decide which groups are kept."""
        return (self.pass_rate_low, self.pass_rate_high) != (0.0, 1.0)

    @property
    def run_folder(self) -> Path:
        """`output_dir`; TrainingArguments has filled it in when none was given."""
        return Path(str(self.output_dir))

    @property
    def group_size(self) -> int:
        """G, rollouts of one problem."""
        return cast(int, self.num_generations)


def _mapping(text: str) -> dict[str, Any]:
    """A mapping given as JSON, as on the command line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise SettingError(f"teacher_chat_template_kwargs is a mapping, as JSON on the command line, got {text!r}")
    return value


_LEAST: dict[str, float] = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_iterations": 1,
    "learning_rate": 0.0,
    "resample_dead_groups": 0,
    "curriculum_rest": 0,
    "reward_timeout": 0.0,
    "null_control_every": 0,
    "null_control_rows": 0,
    "score_tokens_per_forward": 1,
    "trace_groups": 0,
    "trace_max_mb": 1,
}


def _refuse_out_of_range(config: CEPOConfig) -> None:
    """Numbers that would fail after the first generation, or silently train nothing."""
    for name, least in _LEAST.items():
        value = getattr(config, name)
        if not value >= least:  # NaN too
            raise SettingError(f"{name}={value} must be at least {least}")
    if not config.temperature > 0.0:
        raise SettingError(f"temperature={config.temperature} must be above 0")
    if config.max_steps == 0 or config.max_steps < -1:
        raise SettingError(f"max_steps={config.max_steps} must be at least 1 (or -1: num_train_epochs decides)")


def _refuse_stop_strings(config: CEPOConfig) -> None:
    """Known now; transformers would say it at the first generation."""
    given = cast(Any, config.generation_kwargs or {})
    if not config.use_vllm and given.get("stop_strings"):
        raise SettingError(
            f"generation_kwargs: stop_strings={given['stop_strings']!r} needs use_vllm (there: stop): TRL gives "
            "transformers no tokenizer to read them with; or name tokens, eos_token_id"
        )


def _refuse_missing_columns(config: CEPOConfig) -> None:
    if config.remove_unused_columns:
        raise SettingError(
            f"remove_unused_columns=True cannot be used: method={config.method!r} tells its teachers of each problem, "
            f"but it drops the column {config.answer_column!r} that r+ is read from"
        )


def _warn_of_uncorrected(config: CEPOConfig) -> None:
    """TRL's default, which no loss of a distillation reads: no reason to refuse, but to be said."""
    if config.use_vllm and config.vllm_importance_sampling_correction:
        warnings.warn(
            f"method={config.method!r} does not read vllm_importance_sampling_correction: where vLLM's log-probs are "
            "not the trainer's, its samples stay a little off policy",
            stacklevel=4,
        )


def _refuse_misread(config: CEPOConfig, rule: Rule) -> None:
    """A rule that divides by the group's deviation, where A is divided by something else."""
    if "deviation" in rule.reads and config.scale_rewards not in (True, "group"):
        raise SettingError(
            f"method={rule.name!r} divides by the deviation of a group's rewards, but scale_rewards="
            f"{config.scale_rewards!r} divides A by another; use 'group'"
        )


def _refuse_unbalanced(config: CEPOConfig, method: Method) -> None:
    if config.balance_batch and isinstance(method, Rule) and not config.skip_dead_groups:
        raise SettingError("balance_batch=True deals live rows alone: set skip_dead_groups: true with it")
