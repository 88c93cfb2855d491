"""From evidence to cells of the table, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cepo.credit.evidence import dead_zone
from cepo.credit.references import References
from cepo.lab.audit.collect import is_decided
from cepo.lab.audit.evidence import Key, ScoreBook, evidence_of, keys_of, references_in
from cepo.lab.audit.labelled import Tokens, gather_tokens, measure_tokens, profile
from cepo.lab.audit.ledger import Cell, Ledger, Part
from cepo.lab.audit.metrics import Floats, ratio
from cepo.lab.audit.montecarlo import Steps, measure_steps
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Variant

__all__ = [
    "GRPO",
    "SURPRISAL",
    "Choices",
    "Floors",
    "StepTable",
    "choose",
    "measure_bins",
    "measure_labelled",
    "measure_level",
    "measure_profile",
    "measure_values",
    "usable",
]

GRPO = "grpo"
"""The outcome alone: sign(A) for every step. A method that does not beat it adds nothing to GRPO."""
SURPRISAL = "surprisal"
"""-log P_S: what the student alone finds surprising, without any reference."""

Placed = tuple[Target, Sequence[Target]]
"""A target and the group that it stands in, itself included."""
Floors = Mapping[str, Mapping[Variant, float]]
"""Name of a dead zone -> variant -> its threshold in nats."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Which references every variant has for which target; a target without any is not there."""

    by_variant: Mapping[Variant, Mapping[Target, References]]
    placed: Sequence[Placed] = field(default_factory=tuple)

    def keys(self) -> Iterable[Key]:
        for variant, chosen in self.by_variant.items():
            for target, references in chosen.items():
                yield from keys_of(target, variant, references)

    def paired(self) -> list[Target]:
        """Targets for which every variant has references: variants are compared on these alone."""
        if not self.by_variant:
            return []
        return [target for target, _ in self.placed if all(target in chosen for chosen in self.by_variant.values())]

    def evidence(self, variant: Variant, targets: Sequence[Target], book: ScoreBook) -> list[Floats]:
        chosen = self.by_variant[variant]
        return [evidence_of(target, variant, chosen[target], book) for target in targets]


def choose(
    variants: Sequence[Variant],
    placed: Sequence[Placed],
    problems: Sequence[AuditProblem],
    seed: int,
    *,
    only_decided: bool = False,
) -> Choices:
    """References of every placed target under every variant; `only_decided`: none in groups all right or all wrong."""
    groups: dict[tuple[Target, ...], list[Target]] = {}
    for target, group in placed:
        if not only_decided or is_decided(group):
            groups.setdefault(tuple(group), []).append(target)
    found: dict[Variant, dict[Target, References]] = {variant: {} for variant in variants}
    for group, members in groups.items():
        for variant in variants:
            references = references_in(problems[group[0].problem], group, variant, seed)
            by_member = dict(zip(group, references, strict=True))
            found[variant] |= {member: one for member in members if (one := by_member[member]) is not None}
    return Choices(found, placed)


def usable(targets: Iterable[Target]) -> list[Target]:
    """Those whose labels say what each token deserves."""
    return [target for target in targets if target.labels is not None and not target.lucky]


def measure_labelled(
    part: Part, choices: Choices, book: ScoreBook, ledger: Ledger, weight_RP: Floats, clip: float, floors: Floors
) -> list[Target]:
    """Labelled measures of every variant, without and with each dead zone; returns what they were measured on."""
    targets = usable(choices.paired())
    tokens = gather_tokens(targets)
    for variant in choices.by_variant:
        _coverage(part, "", variant, choices, ledger, weight_RP)
        evidence = choices.evidence(variant, targets, book)
        for level, thresholds in {"": {variant: 0.0}, **floors}.items():
            if np.isfinite(thresholds.get(variant, np.nan)):
                shrunk = _shrunk(evidence, thresholds[variant])
                _add(part, variant.name, level, measure_tokens(shrunk, tokens, weight_RP, clip), tokens, ledger)
    if part == "sampled":
        surprisal = [-book[Key(target, ASKING[0], None)].astype(np.float64) for target in targets]
        measured = measure_tokens(surprisal, tokens, weight_RP, clip)
        kept = {name: measured[name] for name in ("auroc", "ap", "contrast")}
        _add(part, SURPRISAL, "", kept, tokens, ledger)
    return targets


def measure_profile(
    choices: Choices, targets: Sequence[Target], book: ScoreBook, ledger: Ledger, weight_RP: Floats
) -> None:
    """Mean |Delta| along the completion."""
    tokens = gather_tokens(targets)
    for variant in choices.by_variant:
        for index, values in enumerate(profile(choices.evidence(variant, targets, book), tokens, weight_RP)):
            for kind, value_R in values.items():
                ledger.add(Cell("profile", variant.name, f"{index}", f"abs_{kind}"), value_R, tokens.problem_N)


def measure_bins(
    choices: Choices,
    targets: Sequence[Target],
    bins: Mapping[int, Mapping[str, str]],
    book: ScoreBook,
    ledger: Ledger,
    weight_RP: Floats,
    clip: float,
) -> None:
    """Labelled measures by what kind of problem it is; `bins`: problem -> factor -> bin."""
    levels = sorted({(factor, value) for by_factor in bins.values() for factor, value in by_factor.items()})
    for factor, value in levels:
        inside = [target for target in targets if bins[target.problem][factor] == value]
        tokens = gather_tokens(inside)
        for variant in choices.by_variant:
            measured = measure_tokens(choices.evidence(variant, inside, book), tokens, weight_RP, clip)
            _add("sensitivity", variant.name, f"{factor}: {value}", measured, tokens, ledger)


@dataclass(frozen=True, slots=True)
class StepTable:
    """Rollouts cut into steps, with the value changes of those and their reliability."""

    targets: Sequence[Target]
    cuts: Sequence[Sequence[tuple[int, int]]]
    steps: Steps
    reliability_R: Floats

    def only(self, kept: set[Target]) -> StepTable:
        """The table of some of its targets; the reliability stays the whole table's."""
        places = [place for place, target in enumerate(self.targets) if target in kept]
        return StepTable(
            [self.targets[place] for place in places],
            [self.cuts[place] for place in places],
            self.steps.only(places),
            self.reliability_R,
        )


def measure_level(
    level: str,
    choices: Choices,
    shared: set[Target],
    table: StepTable | None,
    book: ScoreBook,
    ledger: Ledger,
    weight_RP: Floats,
    clip: float,
) -> None:
    """One level of a factor, on the targets that all of its levels share; the coverage is over all that stand in it."""
    targets = [target for target, _ in choices.placed if target in shared]
    labelled = usable(targets)
    tokens = gather_tokens(labelled)
    for variant in choices.by_variant:
        _coverage("sensitivity", level, variant, choices, ledger, weight_RP)
        measured = measure_tokens(choices.evidence(variant, labelled, book), tokens, weight_RP, clip)
        _add("sensitivity", variant.name, level, measured, tokens, ledger)
    if table is not None:
        measure_values("sensitivity", level, choices, table.only(shared), book, ledger, weight_RP, {})


def measure_values(
    part: Part,
    level: str,
    choices: Choices,
    table: StepTable,
    book: ScoreBook,
    ledger: Ledger,
    weight_RP: Floats,
    floors: Floors,
) -> None:
    """Agreement with the value changes of every variant, without and with each dead zone, and of the outcome alone."""

    def add(name: str, at: str, evidence_N: Floats) -> None:
        measured = measure_steps(evidence_N, table.steps, weight_RP, table.reliability_R)
        for measure, value_R in measured.items():
            ledger.add(Cell(part, name, at, measure), value_R, table.steps.problem_N)

    for variant in choices.by_variant:
        evidence = choices.evidence(variant, table.targets, book)
        for zone, thresholds in {"": {variant: 0.0}, **floors}.items():
            if np.isfinite(thresholds.get(variant, np.nan)):
                add(variant.name, zone or level, _step_sums(_shrunk(evidence, thresholds[variant]), table.cuts))
    signs = [1.0 if target.right else -1.0 for target in table.targets]
    add(GRPO, level, np.repeat(signs, [len(cuts) for cuts in table.cuts]))


def _step_sums(evidence: Sequence[Floats], cuts: Sequence[Sequence[tuple[int, int]]]) -> Floats:
    """Summed evidence of each step, (N,)."""
    sums = [value_T[first:last].sum() for value_T, own in zip(evidence, cuts, strict=True) for first, last in own]
    return np.array(sums, dtype=np.float64)


def _add(part: Part, name: str, level: str, measured: Mapping[str, Floats], tokens: Tokens, ledger: Ledger) -> None:
    for measure, value_R in measured.items():
        ledger.add(Cell(part, name, level, measure), value_R, tokens.problem_N)


def _coverage(part: Part, level: str, variant: Variant, choices: Choices, ledger: Ledger, weight_RP: Floats) -> None:
    """Share of the placed targets for which the variant has references."""
    chosen = choices.by_variant[variant]
    has_N = np.array([target in chosen for target, _ in choices.placed], dtype=np.float64)
    problem_N = np.array([target.problem for target, _ in choices.placed], dtype=np.int64)
    value_R = ratio(has_N, np.ones_like(has_N), problem_N, weight_RP)
    ledger.add(Cell(part, variant.name, level, "coverage"), value_R, problem_N)


def _shrunk(evidence: Sequence[Floats], threshold: float) -> list[Floats]:
    """Evidence less its dead zone."""
    return [dead_zone(torch.from_numpy(value_T)[None], threshold)[0].numpy() for value_T in evidence]
