"""What happened in a run, in sentences, and the two rollouts to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from cepo.reports.run_data import RunData
from cepo.stats import Estimate

__all__ = ["headline", "picked", "progress", "seconds_text"]

_TENTH = 10


def headline(run: RunData, remarks: int) -> str:
    """One sentence: what was measured from where to where, in how many steps, and how many things are unusual."""
    method = str(run.summary.get("method") or run.settings.get("method") or "the run")
    took = run.summary.get("train_seconds")
    steps = f"{run.step} steps" + (f" and {seconds_text(float(took))}" if isinstance(took, (int, float)) else "")
    if run.state == "training":
        told = f"{method} is training: {_accuracy(run) or _reward(run) or 'no step has ended yet'}"
    elif run.state == "stopped":
        told = f"{method} was stopped after {steps}: {_accuracy(run) or _reward(run) or 'nothing was logged'}"
    else:
        told = (
            _measured(run.summary, method, steps) or f"{method} trained for {steps}: {_accuracy(run) or _reward(run)}"
        )
    unusual = {0: "nothing is unusual", 1: "one thing is unusual"}.get(remarks, f"{remarks} things are unusual")
    return f"{told}; {unusual}{' so far' if run.state == 'training' else ''}."


def _measured(summary: Mapping[str, Any], method: str, steps: str) -> str | None:
    """The evaluations before and after; None where there are none."""
    before, after = summary.get("before"), summary.get("after")
    if not before or not after:
        return None
    was, now = (_estimate(one["overall"]).text(unit="%") for one in (before, after))
    change = _estimate(summary["difference"]) if summary.get("difference") else Estimate(0.0, None, None)
    points = f" ({change.text(sign=True)} points)" if summary.get("difference") else ""
    verbs = {1: "raised accuracy", -1: "lowered accuracy", 0: "shows no difference in accuracy", None: "moved accuracy"}
    return (
        f"{method} {verbs[change.side]} on {before['problems']} held-out problems "
        f"from {was} to {now}{points} in {steps}"
    )


def _accuracy(run: RunData) -> str | None:
    """The evaluations during training; None where there are none."""
    if not run.curve:
        return None
    (_, *first), (step, *last) = run.curve[0], run.curve[-1]
    was, now = (Estimate(*values).text(unit="%") for values in (first, last))
    if len(run.curve) == 1:
        return f"held-out accuracy is {now} at step {step:.0f}"
    return f"held-out accuracy was {was} at first and is {now} at step {step:.0f}"


def _reward(run: RunData) -> str | None:
    rewards = [value for _, value in run.metrics.get("reward", ())]
    if not rewards:
        return None
    part = max(1, len(rewards) // _TENTH)
    first, last = fmean(rewards[:part]), fmean(rewards[-part:])
    return f"the mean reward was {first:.3f} at first and is {last:.3f}; nothing was evaluated"


def _estimate(found: Mapping[str, Any]) -> Estimate:
    return Estimate(found["mean"], found["low"], found["high"])


def progress(run: RunData) -> str:
    """Where a run that has not ended is: its step, and about how long the rest will take."""
    if run.state != "training":
        return ""
    total = "" if run.total is None else f" of {run.total}"
    left = "" if run.seconds_left is None else f", about {seconds_text(run.seconds_left)} left"
    return f"step {run.step}{total}{left}"


def seconds_text(seconds: float) -> str:
    """A duration in the largest units that matter: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def picked(run: RunData) -> list[int]:
    """Places in `run.rollouts` of a right and a wrong rollout to look at first; fewer where there are none.

    Of the last group that has both, with credit and with answers where any group has them, the wrong one's first wrong
    step known where it can be, and the right one without any. Without such a group, the last right and the last wrong.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for place, record in enumerate(run.rollouts):
        groups.setdefault((record.step, record.group), []).append(place)
    pairs = [pair for places in groups.values() if len(pair := _one_of_each(run, places)) == 2]
    if pairs:
        return max(pairs, key=lambda pair: (sum(_merit(run, place) for place in pair), pair))
    return _one_of_each(run, range(len(run.rollouts)))


def _one_of_each(run: RunData, places: Iterable[int]) -> list[int]:
    """The best right one and the best wrong one."""
    listed = list(places)
    found: list[int] = []
    for verdict in (True, False):
        of_it = [place for place in listed if run.rollouts[place].correct is verdict]
        found += [max(of_it, key=lambda place: (_merit(run, place), place))] if of_it else []
    return found


def _merit(run: RunData, place: int) -> int:
    record = run.rollouts[place]
    has_credit = record.evidence is not None or record.weight is not None
    return 4 * has_credit + 2 * (record.answer is not None) + (record.correct == (place not in run.first_wrong))
