"""What cannot work on GPUs, or works and is silently wrong: settings that are known to go wrong together."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cepo.runs.evaluation import BATCH
from cepo.runs.recipe import RunConfig
from cepo.trainer.config import CEPOConfig
from cepo.trainer.finding import Finding

__all__ = ["gpu_settings"]

TOKENS_PER_S = 25.0
"""What transformers generates of one row on a GPU: a rough figure, for the length of an evaluation."""

ROWS_AT_ONCE = 16
"""Rows that it generates side by side."""


def gpu_settings(run: RunConfig, config: CEPOConfig, eval_rows: int) -> Iterator[Finding]:
    """Findings on settings alone; `eval_rows`: held-out problems, 0 without."""
    if config.use_vllm and config.vllm_enable_sleep_mode and config.vllm_mode == "colocate":
        yield Finding(
            "vllm sleep",
            "warn",
            "vllm_enable_sleep_mode: true throws vLLM's weights away between steps; on waking, releases of vLLM and "
            "TRL have put back stale ones (vllm#29341), and rollouts were another policy's",
            "set it to false and lower vllm_gpu_memory_utilization; with it, watch sampling/importance_sampling_ratio: "
            "its mean must stay near 1",
        )
    if config.use_vllm and config.vllm_importance_sampling_correction and _is_cut(config):
        yield Finding(
            "sampling",
            "fail",
            f"top_p={config.top_p}, top_k={config.top_k}, min_p={config.min_p} sample from a cut distribution, but "
            "vLLM's importance correction compares with the whole one: ratios are off on every token",
            "set top_p: 1.0, top_k: 0 and min_p: null, or vllm_importance_sampling_correction: false",
        )
    rows = min(BATCH, eval_rows * run.eval_samples)
    seconds = _batch_s(config, rows)
    if torch.cuda.device_count() > 1 and seconds > config.ddp_timeout:
        yield Finding(
            "evaluation",
            "warn",
            f"a batch of {rows} answers may take {seconds / 60:.0f} minutes on one process, while the others, who may "
            f"have none left, wait {config.ddp_timeout / 60:.0f} for it and then stop",
            f"set ddp_timeout: {int(2 * seconds)}",
        )
    attention = run.attn_implementation or ""
    if "flash" in attention and config.credit.credit_precision != "bfloat16":
        yield Finding(
            "attention",
            "ok",
            f"attn_implementation: {attention} has no fp32 kernels: credit in {config.credit.credit_precision} is "
            "scored with sdpa, or with eager attention where the model has no sdpa",
        )


def _is_cut(config: CEPOConfig) -> bool:
    return config.top_p < 1.0 or bool(config.top_k) or bool(config.min_p)


def _batch_s(config: CEPOConfig, rows: int) -> float:
    """Arithmetic: every completion as long as it may be."""
    return rows * (config.max_completion_length or 256) / (TOKENS_PER_S * ROWS_AT_ONCE)
