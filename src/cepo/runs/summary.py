"""What came out of a run: accuracy before and after, and what the credit did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from cepo.evaluate import EvalReport
from cepo.stats import Difference, paired_difference
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["RunSummary", "summarise"]

_CREDIT = (
    "credit/evidence_abs_mean_pos",
    "credit/evidence_abs_mean_neg",
    "credit/clip_low",
    "credit/clip_high",
    "credit/multiplier_mean",
    "credit/groups_undecided",
    "credit/rows_fallback",
    "credit/rows_nonfinite",
)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What `summary.json` holds.

    Attributes:
        credit_settings: as resolved; None where the method has no teachers.
        credit: means over the steps that logged them.
        before, after, difference: the evaluation, paired over problems; None where nothing was evaluated.
    """

    method: str
    steps: int
    train_seconds: float
    credit_settings: Mapping[str, object] | None
    credit: Mapping[str, float]
    before: EvalReport | None
    after: EvalReport | None
    difference: Difference | None

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON; without an evaluation its three entries are left out."""
        values: dict[str, object] = {
            "method": self.method,
            "steps": self.steps,
            "train_seconds": self.train_seconds,
            "credit_settings": self.credit_settings,
            "credit": dict(self.credit),
        }
        if self.before is not None and self.after is not None and self.difference is not None:
            values |= {"before": self.before.to_dict(), "after": self.after.to_dict()}
            values["difference"] = self.difference._asdict()
        return values


def summarise(trainer: CEPOTrainer, before: EvalReport | None, after: EvalReport | None, seconds: float) -> RunSummary:
    """The summary of a run that has been trained for `seconds`."""
    difference = None
    if before is not None and after is not None:
        names = sorted(before.per_problem)
        difference = paired_difference(
            [after.per_problem[name] for name in names], [before.per_problem[name] for name in names]
        )
    means = {name: _mean(trainer.state.log_history, name) for name in _CREDIT}
    return RunSummary(
        method=trainer.args.method,
        steps=trainer.state.global_step,
        train_seconds=round(seconds, 1),
        credit_settings=asdict(trainer.credit) if trainer.method.prompts else None,
        credit={name: mean for name, mean in means.items() if mean is not None},
        before=before,
        after=after,
        difference=difference,
    )


def _mean(history: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [entry[name] for entry in history if entry.get(name) is not None]
    return sum(values) / len(values) if values else None
