"""From evidence to cells of the table, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from cepo.credit.evidence import dead_zone
from cepo.credit.references import References
from cepo.lab.audit.collect import is_decided
from cepo.lab.audit.evidence import Key, ScoreBook, evidence_of, keys_of, placed_of, references_in
from cepo.lab.audit.labelled import Tokens, gather_tokens, measure_tokens, profile
from cepo.lab.audit.ledger import Ledger, Part
from cepo.lab.audit.metrics import Floats, ratio
from cepo.lab.audit.montecarlo import Steps, measure_steps
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Variant

__all__ = ["GRPO", "SURPRISAL", "Choices", "Floors", "Meter", "StepTable", "choose", "usable"]

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

    def blame(self, variant: Variant, targets: Sequence[Target], book: ScoreBook) -> list[Floats]:
        """What blame and praise are read from: the evidence, or the credit of a rule that does not go by it alone."""
        if variant.goes_by_evidence:
            return self.evidence(variant, targets, book)
        chosen = self.by_variant[variant]
        return [placed_of(target, variant, chosen[target], book) for target in targets]


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


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures the evidence that the log-probs in `book` make, and enters it in the ledger.

    Attributes:
        clip: eps_w, for saturation, clipped mass and weights.
    """

    book: ScoreBook
    ledger: Ledger
    clip: float

    def labelled(self, part: Part, choices: Choices, floors: Floors) -> list[Target]:
        """Labelled measures of every variant, without and with each dead zone; returns what they were measured on."""
        targets = usable(choices.paired())
        tokens = gather_tokens(targets)
        for variant in choices.by_variant:
            self._coverage(part, "", variant, choices)
            for zone, evidence in self._by_zone(variant, choices, targets, floors):
                self._tokens(part, variant.name, zone, evidence, tokens)
        if part == "sampled":
            surprisal = [-self.book[Key(target, ASKING[0], None)].astype(np.float64) for target in targets]
            measured = measure_tokens(surprisal, tokens, self.ledger.weight_RP, self.clip)
            kept = {name: measured[name] for name in ("auroc", "ap", "contrast")}
            self.ledger.add(part, SURPRISAL, "", kept, tokens.problem_N)
        return targets

    def profile(self, choices: Choices, targets: Sequence[Target]) -> None:
        """Mean |Delta| along the completion."""
        tokens = gather_tokens(targets)
        for variant in choices.by_variant:
            evidence = choices.evidence(variant, targets, self.book)
            for index, values in enumerate(profile(evidence, tokens, self.ledger.weight_RP)):
                measured = {f"abs_{kind}": value_R for kind, value_R in values.items()}
                self.ledger.add("profile", variant.name, f"{index}", measured, tokens.problem_N)

    def bins(self, choices: Choices, targets: Sequence[Target], bins: Mapping[int, Mapping[str, str]]) -> None:
        """Labelled measures by what kind of problem it is; `bins`: problem -> factor -> bin."""
        levels = sorted({(factor, value) for by_factor in bins.values() for factor, value in by_factor.items()})
        for factor, value in levels:
            inside = [target for target in targets if bins[target.problem][factor] == value]
            tokens = gather_tokens(inside)
            for variant in choices.by_variant:
                evidence = choices.evidence(variant, inside, self.book)
                self._tokens("sensitivity", variant.name, f"{factor}: {value}", evidence, tokens)

    def level(self, level: str, choices: Choices, shared: set[Target], table: StepTable | None) -> None:
        """One level of a factor, on the targets that all its levels share; coverage is over all that stand in it."""
        labelled = usable(target for target, _ in choices.placed if target in shared)
        tokens = gather_tokens(labelled)
        for variant in choices.by_variant:
            self._coverage("sensitivity", level, variant, choices)
            evidence = choices.evidence(variant, labelled, self.book)
            self._tokens("sensitivity", variant.name, level, evidence, tokens)
        if table is not None:
            self.values("sensitivity", level, choices, table.only(shared), {})

    def values(self, part: Part, level: str, choices: Choices, table: StepTable, floors: Floors) -> None:
        """Agreement with the value changes of every variant, without and with each dead zone, and of the outcome."""

        def add(name: str, at: str, evidence_N: Floats) -> None:
            measured = measure_steps(evidence_N, table.steps, self.ledger.weight_RP, table.reliability_R)
            self.ledger.add(part, name, at, measured, table.steps.problem_N)

        for variant in choices.by_variant:
            for zone, evidence in self._by_zone(variant, choices, table.targets, floors):
                add(variant.name, zone or level, _step_sums(evidence, table.cuts))
        signs = [1.0 if target.right else -1.0 for target in table.targets]
        add(GRPO, level, np.repeat(signs, [len(cuts) for cuts in table.cuts]))

    def _by_zone(
        self, variant: Variant, choices: Choices, targets: Sequence[Target], floors: Floors
    ) -> Iterator[tuple[str, list[Floats]]]:
        """The evidence as it is (""), and less each dead zone whose threshold is known."""
        evidence = choices.evidence(variant, targets, self.book)
        yield "", evidence
        for zone, thresholds in floors.items():
            if np.isfinite(threshold := thresholds.get(variant, np.nan)):
                yield zone, [dead_zone(torch.from_numpy(value_T)[None], threshold)[0].numpy() for value_T in evidence]

    def _tokens(self, part: Part, name: str, level: str, evidence: Sequence[Floats], tokens: Tokens) -> None:
        measured = measure_tokens(evidence, tokens, self.ledger.weight_RP, self.clip)
        self.ledger.add(part, name, level, measured, tokens.problem_N)

    def _coverage(self, part: Part, level: str, variant: Variant, choices: Choices) -> None:
        """Share of the placed targets for which the variant has references."""
        chosen = choices.by_variant[variant]
        has_N = np.array([target in chosen for target, _ in choices.placed], dtype=np.float64)
        problem_N = np.array([target.problem for target, _ in choices.placed], dtype=np.int64)
        value_R = ratio(has_N, np.ones_like(has_N), problem_N, self.ledger.weight_RP)
        self.ledger.add(part, variant.name, level, {"coverage": value_R}, problem_N)


def _step_sums(evidence: Sequence[Floats], cuts: Sequence[Sequence[tuple[int, int]]]) -> Floats:
    """Summed evidence of each step, (N,)."""
    sums = [value_T[first:last].sum() for value_T, own in zip(evidence, cuts, strict=True) for first, last in own]
    return np.array(sums, dtype=np.float64)
