"""How far the credit of a run went from GRPO's, and where: why a method does, or does not, differ from the baseline.

Read from the recorded rollouts of the run (`trace_groups` of every step), of which those with A = 0 are left out.
Distillation has no advantages to compare, and nothing here.

moved          sum |A_hat_t - A| / sum |A| over all steps, those with lambda = 0 too: 0 is GRPO's update
above null     tokens with evidence whose |Delta| is above the run's null level (mean of `credit/null_p90`)
at clip        tokens with evidence whose weight is at 1 - eps_w or 1 + eps_w
on numbers     of sum |w_t - 1|, the share on tokens with a digit; beside it the share of such tokens
r- own, group, none   of rollouts with evidence: r- is the rollout's own answer, another rollout's, or there is none
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from cepo.credit.rules import METHODS, Distillation
from cepo.reports.traces import TRACE_FILE, CreditRecord, read_traces

__all__ = ["COLUMNS", "credited", "read_credited"]

COLUMNS = ("moved", "above null", "at clip", "on numbers", "numbers", "r- own", "r- group", "r- none")
_DISTILLATION = frozenset(name for name, method in METHODS.items() if isinstance(method, Distillation))


def read_credited(folder: Path, metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The shares of a run's folder, in [0, 1]; nothing where no rollout was recorded."""
    if not (folder / TRACE_FILE).is_file():
        return {}
    levels = [line["credit/null_p90"] for line in metrics if line.get("credit/null_p90") is not None]
    return credited(read_traces(folder, damaged=lambda _: None), fmean(levels) if levels else None)


def credited(records: Iterable[CreditRecord], null_level: float | None) -> dict[str, float]:
    """The shares of recorded rollouts; one that has no denominator is left out.

    Args:
        null_level: |Delta| in nats between references that say nothing; None: it was not measured.
    """
    sums: dict[str, float] = dict.fromkeys(
        ("moved", "base", "tokens", "above", "clipped", "bent", "on", "numbers"), 0.0
    )
    minus: dict[str, int] = dict.fromkeys(COLUMNS[5:], 0)
    for record in records:
        if record.base_advantage == 0.0 or record.method in _DISTILLATION:
            continue
        given = record.advantage if isinstance(record.advantage, list) else [record.advantage] * len(record.tokens)
        sums["base"] += abs(record.base_advantage) * len(given)
        sums["moved"] += sum(abs(value - record.base_advantage) for value in given)
        if record.evidence is None or record.weight is None:
            continue
        minus[_minus(record)] += 1
        for token, delta, weight in zip(record.tokens, record.evidence, record.weight, strict=True):
            if not math.isfinite(delta):
                continue
            number, bent = any(map(str.isdigit, token)), abs(weight - 1.0)
            sums["tokens"] += 1
            sums["above"] += null_level is not None and abs(delta) > null_level
            sums["clipped"] += bent >= record.clip - 1e-5  # records have five decimals
            sums["bent"] += bent
            sums["numbers"] += number
            sums["on"] += bent * number
    rollouts = float(sum(minus.values()))
    shares = {
        "moved": (sums["moved"], sums["base"]),
        "above null": (sums["above"], sums["tokens"] if null_level is not None else 0.0),
        "at clip": (sums["clipped"], sums["tokens"]),
        "on numbers": (sums["on"], sums["bent"]),
        "numbers": (sums["numbers"], sums["tokens"]),
        **{column: (float(count), rollouts) for column, count in minus.items()},
    }
    return {name: part / whole for name, (part, whole) in shares.items() if whole}


def _minus(record: CreditRecord) -> str:
    minus = record.told.get("minus")
    if minus is None or not minus.texts:
        return "r- none"
    return "r- own" if minus.is_own else "r- group"
