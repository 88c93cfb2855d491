"""What is measured: benchmarks under lmms-eval's names, and what the paper published."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GEOMETRY", "PAPER", "PUBLISHED_AVERAGES", "SUITES", "Benchmark", "Suite"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One column of the table.

    Attributes:
        name: heading.
        task, metric: lmms-eval's names; the result is `results[task]["<metric>,none"]`.
        scale: what lmms-eval calls all right, 1 or 100.
        problems: independent problems of the full benchmark where rows are variants or steps of fewer
            problems; None: every row is one. Intervals count problems, not rows.
        dataset: its hub id; empty for local data.
    """

    name: str
    task: str
    metric: str
    scale: float
    problems: int | None = None
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """Benchmarks that are run with equal settings.

    Attributes:
        max_new_tokens: tokens that a completion may have.
        model_args: what lmms-eval's model is given besides the checkpoint.
    """

    name: str
    benchmarks: tuple[Benchmark, ...]
    max_new_tokens: int
    model_args: tuple[tuple[str, str], ...] = ()


PAPER = Suite(
    "paper",
    (
        # 5,010 rows: ten variants of each of 501 seed questions.
        Benchmark("DynaMath", "dynamath_reasoning", "dynamath_average", 1, 501, "kcz358/DynaMath"),
        Benchmark("LogicVista", "logicvista_reasoning", "acc_score", 1, None, "lscpku/LogicVista"),
        Benchmark(
            "MathVision-mini", "mathvision_testmini", "mathvision_standard_eval", 100, None, "MathLLMs/MathVision"
        ),
        Benchmark("MMMU", "mmmu_val", "mmmu_acc", 1, None, "lmms-lab-encoder/MMMU"),
        # Rows are whole problems and the steps of the same problems.
        Benchmark("WeMath", "wemath_testmini_reasoning", "acc_score", 1, 525, "We-Math/We-Math"),
    ),
    max_new_tokens=32000,
)
"""Table 1 of arXiv 2605.19436 under lmms-eval 0.7.3."""

GEOMETRY = Suite(
    "geometry",
    (Benchmark("Geometry", "cepo_geometry", "acc_score", 1),),
    max_new_tokens=64,
    # lmms-eval puts a system message before every prompt; training has none.
    model_args=(("system_prompt", ""),),
)
"""Our procedural geometry, held out, through lmms-eval: the whole way without a hub or a GPU."""

SUITES = {suite.name: suite for suite in (PAPER, GEOMETRY)}

PUBLISHED_AVERAGES = {
    "base 2B": 39.73, "GRPO 2B": 41.17, "RLSD 2B": 40.97, "CEPO 2B": 43.43, "OPSD 2B": 34.96, "SDPO 2B": 35.70,
    "base 4B": 58.36, "GRPO 4B": 57.43, "RLSD 4B": 58.51, "CEPO 4B": 60.56, "OPSD 4B": 56.23, "SDPO 4B": 55.75,
}  # fmt: skip
"""Averages of Table 1, percent. RLSD 2B is the average of its own five cells; 40.05 is printed. No seeds are given."""
