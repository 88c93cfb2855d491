"""Each finding as a line in words, drawn from paired differences: what differs, by how much, or not visibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cepo.lab.audit.first_error import BLAME_MEASURES
from cepo.lab.audit.ledger import Cell, Ledger
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.run import DEAD_ZONES, AuditResult
from cepo.lab.audit.sensitivity import DIFFERENT, GROUP_SIZES
from cepo.lab.audit.table import shown
from cepo.stats import Estimate

__all__ = ["findings"]

PLAIN = "cepo-sampled"
"""What the others are held against."""
FEWEST = 8
"""Problems. A bootstrap over fewer says little about its interval."""

_WORDS = {
    "auroc": "AUROC",
    "contrast": "decisive/filler contrast",
    "saturation_filler": "filler at the clip",
    "mass_right": "evidence of the right sign on right rollouts",
    "mass_wrong": "evidence of the right sign on wrong rollouts",
    "error_focus": "extra weight of the first error",
    "spearman": "rank correlation with value changes",
    "spearman_within": "rank correlation within rollouts",
    "coverage": "rollouts that get evidence",
}
_LED_BY = tuple(f"{name}{form}" for name in ("rlsd", PLAIN, "cepo-own", "decisive-own") for form in ("", "/rationale"))
"""Variants that the first lines are of: told answers, and told solutions."""
_LABELLED = ("auroc", "contrast", "mass_right", "mass_wrong", "error_focus")


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two rows of the table and what they are compared by."""

    title: str
    one: tuple[str, str]
    other: tuple[str, str]
    labelled: Sequence[str] = _LABELLED
    values: Sequence[str] = ("spearman", "spearman_within")


def findings(result: AuditResult) -> list[str]:
    """The lines, in the order of the questions; a comparison whose rows were not audited has none."""
    ledger = result.ledger
    lines = [_first_error(ledger, variant.name) for variant in result.variants if variant.name in _LED_BY]
    lines += [_compared(ledger, pair) for pair in _pairs()]
    lines += [
        _levels(ledger, name, *levels) for levels in _level_pairs() for name in (PLAIN, "cepo-own", "cepo-marginal")
    ]
    lines += list(_null_lines(ledger))
    return [line for line in lines if line]


def _pairs() -> Iterator[_Pair]:
    yield _Pair("method: CEPO against RLSD", (PLAIN, ""), ("rlsd", ""))
    for policy in ("common", "own", "marginal", "worst"):
        yield _Pair(f"r- policy: {policy} against sampled", (f"cepo-{policy}", ""), (PLAIN, ""))
    yield _Pair("r- policy: the paper's (worst, self allowed) against sampled", ("cepo-worst+self", ""), (PLAIN, ""))
    for name in (PLAIN, "rlsd"):
        yield _Pair(f"prompt style, {name}: user turn against prefill", (name, ""), (f"{name}/prefill", ""))
        yield _Pair(f"reference form, {name}: answer against rationale", (name, ""), (f"{name}/rationale", ""))
    yield _Pair(
        "the released code's way (worst, self allowed, prefill, no image) against sampled",
        ("cepo-worst+self/prefill/blind", ""),
        (PLAIN, ""),
    )
    for name in (PLAIN, "cepo-own", "rlsd"):
        for zone in DEAD_ZONES:
            yield _Pair(
                f"{zone}, {name}: with against without", (name, zone), (name, ""), (*_LABELLED, "saturation_filler")
            )
        yield _Pair(f"against the student's surprisal, {name}", (name, ""), (SURPRISAL, ""), ("auroc", "contrast"), ())
        yield _Pair(f"against the outcome alone (GRPO), {name}", (name, ""), (GRPO, ""), (), ("spearman",))
        yield _Pair(f"teacher weights, {name}: other against own", (f"{name}@teacher", ""), (name, ""))


def _level_pairs() -> Iterator[tuple[str, str]]:
    yield f"group size: {GROUP_SIZES[-1]}", f"group size: {GROUP_SIZES[0]}"
    factor = "different answers of 4 wrong siblings"
    yield f"{factor}: {DIFFERENT[0]}", f"{factor}: {DIFFERENT[-1]}"
    yield "rejection rate: 3: over 2/3", "rejection rate: 1: under 1/3"


def _first_error(ledger: Ledger, name: str) -> str:
    """Whether the blame of one variant finds the first wrong step, beside chance and the answer's echo."""
    cells = {measure: Cell("first_error", name, "", measure) for measure in BLAME_MEASURES}
    found = {measure: ledger[cell] for measure, cell in cells.items()}
    share, chance, end, echo = (found[measure] for measure in ("found", "chance", "at_end", "echo"))
    if share is None or chance is None or end is None:
        return ""
    beside = f"chance {100 * chance.mean:.0f}%, pointing at the end {100 * end.mean:.0f}%"
    said = f"the first wrong step has the largest blame in {share.text(0)}% of wrong rollouts ({beside})"
    if echo is not None:
        said += f"; where it is not the last step, {echo.text(0)}% of the evidence lies on the last step and the answer"
    few = ledger.problems(cells["found"])
    return f"**first error, {name}**: {said}{f'; {few} problems, no verdict' if few < FEWEST else ''}."


def _compared(ledger: Ledger, pair: _Pair) -> str:
    cells = [Cell("sampled", *pair.one, measure) for measure in pair.labelled]
    cells += [Cell("montecarlo", *pair.one, measure) for measure in pair.values]
    parts = [_difference(ledger, cell, replace(cell, variant=pair.other[0], level=pair.other[1])) for cell in cells]
    return _line(pair.title, parts)


def _levels(ledger: Ledger, name: str, one: str, other: str) -> str:
    measures = ("auroc", "mass_right", "mass_wrong", "coverage", "spearman_within")
    cells = [Cell("sensitivity", name, one, measure) for measure in measures]
    return _line(
        f"{one} against {other}, {name}", [_difference(ledger, cell, replace(cell, level=other)) for cell in cells]
    )


def _line(title: str, differences: Sequence[_Difference]) -> str:
    """What differs visibly, with figures; then, by name, what does not and what was measured too rarely to tell."""
    apart = [one.in_words() for one in differences if one.verdict in ("higher", "lower")]
    for verdict, words in (("same", "no visible difference in"), ("few", f"under {FEWEST} problems, no verdict on")):
        names = [_WORDS[one.measure] for one in differences if one.verdict == verdict]
        apart += [f"{words} {', '.join(names)}"] if names else []
    return f"**{title}**: {'; '.join(apart)}." if apart else ""


@dataclass(frozen=True, slots=True)
class _Difference:
    """One measure of two rows, and their paired difference over `problems` problems."""

    measure: str
    one: Estimate | None
    other: Estimate | None
    difference: Estimate | None
    problems: int

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return "none"
        if self.difference.side is None or self.problems < FEWEST:
            return "few"
        return {1: "higher", -1: "lower", 0: "same"}[self.difference.side]

    def in_words(self) -> str:
        values = " against ".join(f"{each.mean:.2f}" for each in (self.one, self.other) if each is not None)
        return f"{_WORDS[self.measure]} {self.verdict}, {values} (difference {shown(self.difference)})"


def _difference(ledger: Ledger, one: Cell, other: Cell) -> _Difference:
    difference = ledger.difference(one, other)
    return _Difference(one.measure, ledger[one], ledger[other], difference, ledger.problems(one, other))


def _null_lines(ledger: Ledger) -> Iterator[str]:
    for kind, asking in ledger.levels("null"):
        if asking == "user, answer":
            floor = [f"{name} {shown(ledger[Cell('null', asking, kind, name)], 4)}" for name in ("median", "p90")]
            yield f"**null floor, {asking}, {kind}**: {', '.join(floor)} nats."
