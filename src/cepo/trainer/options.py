"""TRL's settings under token-level credit: each is honoured, has nothing to act on, or is refused in one sentence.

`OPTIONS` names every field that GRPOConfig adds to transformers' TrainingArguments. A test holds the two equal, so that
a setting of a new TRL cannot slip by unseen, and docs/trl_options.md is written from this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cepo.credit.rules import Distillation, Method, Rule
from cepo.errors import SettingError

if TYPE_CHECKING:
    from cepo.trainer.config import CEPOConfig

__all__ = ["HONOURED", "OPTIONS", "REFUSALS", "Option", "Refusal", "refuse_options"]

HONOURED = "honoured"
_NO_REWARD = "has nothing to act on: the loss has no reward in it"
_NO_RATIO = "has nothing to act on: the loss has no clipped ratio of TRL's"
_OF_ITS_LOSS = "belongs to a loss that is refused"
_BESIDE_BETA = "belongs to beta, which is refused"
_BESIDE_ENTROPY = "belongs to entropy_coef, which is refused"


@dataclass(frozen=True, slots=True)
class Option:
    """What becomes of a setting: under rules that give credit, and under distillations (opsd, sdpo)."""

    rules: str = HONOURED
    distillations: str = HONOURED


@dataclass(frozen=True, slots=True)
class Refusal:
    """A setting that would be silently wrong.

    Attributes:
        field: TRL's setting.
        applies: whether its value is one that is refused.
        why: the end of the sentence.
        example: a value that is refused.
    """

    field: str
    applies: Callable[[Any], bool]
    why: str
    example: object

    def sentence(self, value: object, subject: str) -> str:
        return f"{self.field}={value!r} cannot be used: {subject}, {self.why}"


_SEQUENCES = ("vespo", "luspo")

REFUSALS: dict[str, tuple[Refusal, ...]] = {
    "rules": (
        Refusal(
            "importance_sampling_level",
            lambda level: level != "token",
            "but a sequence-level ratio averages it away; use 'token'",
            "sequence",
        ),
        Refusal(
            "loss_type",
            lambda kind: kind in _SEQUENCES,
            "but that loss is defined on sequences; use 'dapo', 'grpo', 'bnpo', 'dr_grpo' or 'cispo'",
            "luspo",
        ),
        Refusal(
            "off_policy_mask_threshold",
            lambda threshold: threshold is not None,
            "but that mask reads one advantage per sequence",
            1.0,
        ),
    ),
    "distillations": (
        Refusal("beta", lambda beta: beta != 0.0, "and would leave the reference model out; use 0", 0.1),
        Refusal("entropy_coef", lambda c: c != 0.0, "and would leave the entropy bonus out; use 0", 0.1),
        Refusal("use_adaptive_entropy", bool, "and would leave the entropy bonus out", True),
        Refusal("top_entropy_quantile", lambda q: q < 1.0, "and compares every token; use 1", 0.5),
        Refusal("delta", lambda d: d is not None, "which has no ratio to bound (sdpo: distill_ratio_clip)", 2.0),
        Refusal("loss_type", lambda kind: kind != "dapo", "divided by the step's taught tokens; leave 'dapo'", "grpo"),
        Refusal(
            "importance_sampling_level", lambda level: level != "token", "of single tokens; use 'token'", "sequence"
        ),
        Refusal("off_policy_mask_threshold", lambda t: t is not None, "which masks no sequences", 1.0),
        Refusal("router_aux_loss_coef", lambda c: bool(c), "and would leave the router's loss out; use 0", 0.1),
    ),
    "skip_dead_groups": (
        Refusal(
            "loss_type",
            lambda kind: kind not in ("dapo", "cispo"),
            "but it divides by the rows or tokens that are there; use 'dapo' or 'cispo'",
            "grpo",
        ),
        Refusal("beta", lambda beta: beta != 0.0, "but it pulls every row towards the reference model", 0.1),
        Refusal("entropy_coef", lambda c: c != 0.0, "but it rewards the entropy of every row", 0.1),
        Refusal("use_adaptive_entropy", bool, "but it rewards the entropy of every row", True),
        Refusal("top_entropy_quantile", lambda q: q < 1.0, "but it ranks the tokens of every row", 0.5),
        Refusal("router_aux_loss_coef", lambda c: bool(c), "but the router's loss reads every row; use 0", 0.1),
    ),
    "resample_dead_groups": (
        Refusal(
            "scale_rewards",
            lambda scale: scale == "batch",
            "but 'batch' divides by the deviation of one batch; use 'group'",
            "batch",
        ),
        Refusal(
            "multi_objective_aggregation",
            lambda how: how != "sum_then_normalize",
            "but that divides by the deviation of one batch; use 'sum_then_normalize'",
            "normalize_then_sum",
        ),
        Refusal(
            "log_completions",
            bool,
            "but it would show the rollouts that were replaced beside the credit of others; set it to false "
            "(cepo report shows what was trained on)",
            True,
        ),
    ),
}
"""Who refuses -> what: rules that give credit, distillations, and two settings of ours."""

_SUBJECTS = {
    "rules": "method={method!r} gives every token its own advantage",
    "distillations": "method={method!r} has a loss of its own, a divergence between distributions,",
    "skip_dead_groups": "skip_dead_groups=True must not change the gradient",
    "resample_dead_groups": "resample_dead_groups mixes the rows of several batches",
}


def refuse_options(config: CEPOConfig, method: Method) -> None:
    """Refuse the first setting of TRL's that this run would ignore or misread.

    Raises:
        SettingError: with the setting, its value and why.
    """
    for who in _refusing(config, method):
        subject = _SUBJECTS[who].format(method=config.method).removesuffix(",")
        for refusal in REFUSALS[who]:
            value = getattr(config, refusal.field)
            if refusal.applies(value):
                raise SettingError(refusal.sentence(value, subject))


def _refusing(config: CEPOConfig, method: Method) -> Sequence[str]:
    who = []
    if isinstance(method, Rule) and method.assign is not None:
        who.append("rules")
    if isinstance(method, Distillation):
        who.append("distillations")
    if config.skip_dead_groups:
        who.append("skip_dead_groups")
    if config.resample_dead_groups:
        who.append("resample_dead_groups")
    return who


OPTIONS: dict[str, Option] = {
    **dict.fromkeys(
        (
            "model_init_kwargs", "trust_remote_code", "disable_dropout", "cast_lm_head_to_fp32", "num_generations",
            "num_generations_eval", "max_completion_length", "ds3_gather_for_generation", "shuffle_dataset",
            "pad_to_multiple_of", "generation_batch_size", "steps_per_generation", "temperature", "top_p", "top_k",
            "min_p", "generation_kwargs", "chat_template_kwargs", "repetition_penalty", "cache_implementation",
            "use_vllm", "vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex",
            "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port",
            "vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size", "num_iterations",
            "mask_truncated_completions", "max_tool_calling_iterations", "log_completions", "log_multimodal",
            "num_completions_to_print", "log_unique_prompts", "log_completions_hub_repo",
            "use_transformers_continuous_batching", "transformers_continuous_batching_config",
            "use_transformers_paged",
        ),
        Option(),
    ),
    **dict.fromkeys(("epsilon", "epsilon_high"), Option(distillations=_NO_RATIO)),
    **dict.fromkeys(
        ("reward_weights", "multi_objective_aggregation", "scale_rewards"), Option(distillations=_NO_REWARD)
    ),
    **dict.fromkeys(("sapo_temperature_neg", "sapo_temperature_pos"), Option(distillations=_OF_ITS_LOSS)),
    **dict.fromkeys(
        ("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"), Option(_OF_ITS_LOSS, _OF_ITS_LOSS)
    ),
    **dict.fromkeys(
        ("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps", "use_bias_correction_kl"),
        Option(distillations=_BESIDE_BETA),
    ),
    **dict.fromkeys(
        ("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target"),
        Option(distillations=_BESIDE_ENTROPY),
    ),
    **dict.fromkeys(
        (
            "vllm_importance_sampling_correction", "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max",
            "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap",
        ),
        Option(distillations=f"{_NO_RATIO}; said once where vLLM generates"),
    ),
    **dict.fromkeys(
        (
            "beta", "delta", "entropy_coef", "use_adaptive_entropy", "top_entropy_quantile", "loss_type",
            "importance_sampling_level", "off_policy_mask_threshold", "router_aux_loss_coef",
        ),
        Option(),
    ),
}  # fmt: skip
"""TRL's field -> what becomes of it; what REFUSALS says stands above this."""
