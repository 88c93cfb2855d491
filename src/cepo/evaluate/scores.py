"""What graded completions amount to: pass@1 with intervals, pass@k, majority vote, by family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from cepo.answers import same_answer
from cepo.errors import RecordError, SettingError
from cepo.evaluate.records import Generation
from cepo.stats import Estimate, clustered_interval, majority_vote, pass_at_k

__all__ = ["EvalReport", "Rates", "Score", "format_families", "format_report", "report"]

_NO_FAMILY = "(none)"


@dataclass(frozen=True, slots=True)
class Score:
    """pass@1 over `n` problems with its 95% interval; no interval (None) for fewer than two problems."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """What several samples give: k -> pass@k for k = 1, 2, 4, .., and the vote's accuracy (None: one sample)."""

    pass_at: dict[int, float]
    majority: float | None

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON; the keys of `pass_at` become text."""
        return {"pass_at": {str(k): rate for k, rate in self.pass_at.items()}, "majority": self.majority}


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What one evaluation found; shares and rates lie in [0, 1].

    Attributes:
        problems, samples: how many problems, and completions of each.
        overall: pass@1, the mean of per-problem means, with the cluster interval.
        pass_at: k -> pass@k, for k = 1, 2, 4, .. <= samples.
        majority: accuracy of the answer most samples agree on; None for one sample.
        families: pass@1 by family, in the order of the data.
        family_rates: pass@k and the vote by family.
        truncated, no_answer: share of completions cut at the token limit, and without an answer in their format.
        late: share of completions that the grader did not reach in time; they count as wrong.
        per_problem: problem id -> mean correctness. `stats.paired_difference` compares two reports of the
            same problems by it: pair the values by id.
    """

    problems: int
    samples: int
    overall: Score
    pass_at: dict[int, float]
    majority: float | None
    families: dict[str, Score]
    family_rates: dict[str, Rates]
    truncated: float
    no_answer: float
    per_problem: dict[str, float]
    late: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """As plain values for JSON; the keys of `pass_at` become text."""
        rates = {family: rates.to_dict() for family, rates in self.family_rates.items()}
        return {**asdict(self), **Rates(self.pass_at, self.majority).to_dict(), "family_rates": rates}


def report(generations: Sequence[Generation], samples: int) -> EvalReport:
    """What `generations`, `samples` of each problem, amount to.

    Raises:
        SettingError, RecordError: samples < 1; no generations, or a problem with another number of samples.
        GraderUnavailable: math-verify cannot start (several samples vote, and equal answers vote together).
    """
    if samples < 1:
        raise SettingError(f"samples must be at least 1, got {samples}")
    if not generations:
        raise RecordError("nothing to report: there are no generations")
    by_problem: dict[str, list[Generation]] = {}
    for generation in generations:
        by_problem.setdefault(generation.id, []).append(generation)
    for problem, group in by_problem.items():
        if len(group) != samples:
            raise RecordError(f"problem {problem!r} has {len(group)} generations, expected samples={samples}")
    groups = list(by_problem.values())
    families = _by_family(groups)
    overall = _rates(groups, samples)
    return EvalReport(
        problems=len(groups),
        samples=samples,
        overall=_score(groups),
        pass_at=overall.pass_at,
        majority=overall.majority,
        families={family: _score(members) for family, members in families.items()},
        family_rates={family: _rates(members, samples) for family, members in families.items()},
        truncated=fmean(generation.truncated for generation in generations),
        no_answer=fmean(generation.extracted is None for generation in generations),
        per_problem={problem: _right(group) / samples for problem, group in by_problem.items()},
        late=fmean(generation.late for generation in generations),
    )


def format_report(report: EvalReport) -> str:
    """The report as aligned plain text: pass@1 overall and by family, then the other rates, in percent."""
    header = ("family", "problems", "pass@1", "95% interval")
    scores = [("all", report.overall)]
    if set(report.families) != {_NO_FAMILY}:
        scores += report.families.items()
    lines = _aligned([header, *((name, str(s.n), _percent(s.mean), _interval(s)) for name, s in scores)])
    facts = [(f"pass@{k}", _percent(rate)) for k, rate in report.pass_at.items() if k > 1]
    if report.majority is not None:
        facts.append((f"majority of {report.samples}", _percent(report.majority)))
    facts += [
        ("samples per problem", str(report.samples)),
        ("truncated", _percent(report.truncated)),
        ("no answer", _percent(report.no_answer)),
    ]
    if report.late:
        facts.append(("not graded in time (wrong)", _percent(report.late)))
    names, values = (max(len(fact[column]) for fact in facts) for column in range(2))
    return "\n".join([*lines, "", *(f"{name.ljust(names)}  {value.rjust(values)}" for name, value in facts)])


def format_families(report: EvalReport) -> str | None:
    """pass@k and the vote by family, as aligned plain text; None: one sample, or no families."""
    if report.samples < 2 or set(report.families) == {_NO_FAMILY}:
        return None
    ks = [k for k in report.pass_at if k > 1]
    header = ("family", *(f"pass@{k}" for k in ks), f"majority of {report.samples}")
    rows = [
        (family, *(_percent(rates.pass_at[k]) for k in ks), _percent(rates.majority or 0.0))
        for family, rates in report.family_rates.items()
    ]
    return "\n".join(_aligned([header, *rows]))


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of equal width, the first column to the left; a rule stands below the header."""
    first, *rest = (max(len(row[column]) for row in table) for column in range(len(table[0])))
    lines = [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], rest, strict=True))])
        for row in table
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _right(group: Sequence[Generation]) -> int:
    return sum(generation.correct for generation in group)


def _score(groups: Sequence[Sequence[Generation]]) -> Score:
    values = [[float(generation.correct) for generation in group] for group in groups]
    if len(groups) < 2:
        return Score(len(groups), fmean(values[0]), None, None)
    mean, low, high = clustered_interval(values)
    return Score(len(groups), mean, low and max(low, 0.0), high and min(high, 1.0))  # near 0 and 1 it would go beyond


def _rates(groups: Sequence[Sequence[Generation]], samples: int) -> Rates:
    pass_at = {k: fmean(pass_at_k(samples, _right(g), k) for g in groups) for k in _powers_of_two(samples)}
    return Rates(pass_at, fmean(_vote_is_right(group) for group in groups) if samples > 1 else None)


def _by_family(groups: Sequence[Sequence[Generation]]) -> dict[str, list[Sequence[Generation]]]:
    families: dict[str, list[Sequence[Generation]]] = {}
    for group in groups:
        family = group[0].family
        families.setdefault(_NO_FAMILY if family is None else family, []).append(group)
    return families


def _powers_of_two(limit: int) -> list[int]:
    return [2**power for power in range(limit.bit_length())]


def _vote_is_right(group: Sequence[Generation]) -> bool:
    vote = majority_vote([generation.extracted for generation in group], same_answer)
    # The vote is some completion's own answer, and that completion has its verdict.
    return vote is not None and next(g.correct for g in group if g.extracted == vote)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _interval(score: Score) -> str:
    return Estimate(score.mean, score.low, score.high).interval_text(unit="%") or "-"
