"""What came out of a run: accuracy before and after, and what the credit did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from cepo.evaluate import EvalReport
from cepo.runs.recipe import RunConfig
from cepo.stats import Difference, paired_difference
from cepo.trainer.config import CEPOConfig
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["RunSummary", "asked", "summarise"]

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
        state, why: `finished`; or `stopped`, and what stopped it.
        asked: how far the run was to go, and what it was to be evaluated on.
        credit_settings: as resolved; None where the method has no teachers.
        credit: means over the steps that logged them.
        before, after, difference: the evaluation, paired over problems; None where nothing was evaluated, and no
            difference of one problem.
    """

    method: str
    state: str
    why: str | None
    asked: Mapping[str, object]
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
            "state": self.state,
            **({} if self.why is None else {"why": self.why}),
            "asked": dict(self.asked),
            "steps": self.steps,
            "train_seconds": self.train_seconds,
            "credit_settings": self.credit_settings,
            "credit": dict(self.credit),
        }
        if self.before is not None and self.after is not None:
            values |= {"before": self.before.to_dict(), "after": self.after.to_dict()}
        if self.difference is not None:
            values["difference"] = self.difference._asdict()
        return values


def asked(run: RunConfig, config: CEPOConfig) -> dict[str, object]:
    """What decides whether a finished run is finished for those who give its command again."""
    evaluation = {"eval_data", "eval_split", "eval_subset", "eval_columns", "eval_limit", "eval_samples"}
    said = {name: getattr(run, name) for name in sorted(evaluation)} if run.eval_data is not None else {}
    return {"max_steps": config.max_steps, "num_train_epochs": config.num_train_epochs, "evaluation": said}


def summarise(
    trainer: CEPOTrainer,
    about: Mapping[str, object],
    seconds: float,
    before: EvalReport | None = None,
    after: EvalReport | None = None,
    why: str | None = None,
) -> RunSummary:
    """The summary of a run that was asked for `about` and has been trained for `seconds`; `why` it was stopped."""
    difference = None
    if before is not None and after is not None and before.problems > 1:
        names = sorted(before.per_problem)
        difference = paired_difference(
            [after.per_problem[name] for name in names], [before.per_problem[name] for name in names]
        )
    means = {name: _mean(trainer.state.log_history, name) for name in _CREDIT}
    return RunSummary(
        method=trainer.args.method,
        state="finished" if why is None else "stopped",
        why=why,
        asked=about,
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
