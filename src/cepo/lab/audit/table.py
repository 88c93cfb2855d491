"""The audit as one table: Markdown to read, CSV and JSON to compute with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from cepo.lab.audit.first_error import BLAME_MEASURES, PLACES, PRAISE_MEASURES
from cepo.lab.audit.labelled import MEASURES
from cepo.lab.audit.ledger import Cell, Ledger, Part
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.montecarlo import MC_MEASURES
from cepo.lab.audit.null import NULL_MEASURES
from cepo.lab.audit.run import DEAD_ZONES, AuditResult
from cepo.lab.tables import csv_text, markdown, records
from cepo.stats import Estimate

__all__ = ["as_csv", "as_json", "as_markdown", "shown"]

_LABELLED = (
    "auroc", "ap", "contrast", "saturation_filler", "sign_right", "mass_right", "sign_wrong", "mass_wrong",
    "sign_first_wrong", "blame_before", "error_focus", "coverage",
)  # fmt: skip
_AGREEMENT = ("spearman", "spearman_corrected", "spearman_within", "sign_agreement")
_SENSITIVITY = ("auroc", "contrast", "mass_right", "mass_wrong", "coverage", "spearman", "spearman_within")
_COVERAGE = "share of the rollouts of decided groups that get evidence; variants are compared on those all can give it"
_PLACES = "all but steps; a share of a rollout's blame, at places counted in steps from its first wrong one"

Rows = Sequence[tuple[str, str]]
"""(level, variant) of each row of a section."""


def shown(estimate: Estimate | None, digits: int = 2) -> str:
    """`0.81 [0.78, 0.83]`; a dash where nothing was measured."""
    return "–" if estimate is None else estimate.text(digits, scale=1.0)


def as_csv(ledger: Ledger) -> str:
    """One line per cell: part, variant, level, measure, value, low, high, problems."""
    return csv_text(ledger.frame(), digits=6)


def as_json(result: AuditResult, about: Mapping[str, object], findings: Sequence[str]) -> str:
    """Everything: what was audited and how, the facts, the findings, the cells, and what each measure says."""
    content = {
        "about": about,
        "facts": {**result.facts, "null_floor_nats": result.floors},
        "notes": result.notes,
        "findings": findings,
        "measures": {
            **BLAME_MEASURES,
            **PRAISE_MEASURES,
            **MEASURES,
            **MC_MEASURES,
            **NULL_MEASURES,
            "coverage": _COVERAGE,
        },
        "cells": records(result.ledger.frame()),
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def as_markdown(result: AuditResult, about: Mapping[str, object], findings: Sequence[str]) -> str:
    """The findings in words, then the table, section by section; intervals are 95%, over problems."""
    ledger, names = result.ledger, [variant.name for variant in result.variants]
    plain: Rows = [("", name) for name in names]
    zones: Rows = [(zone, name) for zone in DEAD_ZONES for name in names]
    lines = [f"# Audit of `{about['model']}` on `{about['data']}`", "", f"`{about['command']}`", ""]
    lines += [_summary(result), *(f"\nNote: {note}." for note in result.notes)]
    lines += ["", "## Findings", "", *(f"- {finding}" for finding in findings)]
    known: Rows = [*plain, ("", SURPRISAL), ("", GRPO)]
    for title, columns, meanings in (
        ("Wrong rollouts: does blame find the first error?", tuple(BLAME_MEASURES), BLAME_MEASURES),
        ("Wrong rollouts: where the blame lies", PLACES, {"words": _PLACES}),
        ("Right rollouts: does praise find what siblings failed at?", tuple(PRAISE_MEASURES), PRAISE_MEASURES),
    ):
        lines += _section(title, _variants(ledger, "first_error", known, columns), meanings)
    sampled = _variants(ledger, "sampled", [*plain, ("", SURPRISAL)], _LABELLED)
    lines += _section("Sampled rollouts against labels", sampled, MEASURES)
    lines += _section("The same with a dead zone", _variants(ledger, "sampled", zones, _LABELLED))
    lines += _section("Worked solutions against labels", _variants(ledger, "worked", plain, _LABELLED))
    steps = _variants(ledger, "montecarlo", [*plain, ("", GRPO), *zones], _AGREEMENT)
    lines += _section("Steps against Monte-Carlo values", steps, MC_MEASURES)
    if (reliability := Cell("montecarlo", "", "", "reliability")) in ledger:
        lines += ["", f"Reliability of the value changes: {shown(ledger[reliability])}."]
    asked = ledger.levels("null")
    first = {"asked": [asking for _, asking in asked], "references": [kind for kind, _ in asked]}
    lines += _section("Irrelevant references (nats)", _grid(ledger, "null", asked, NULL_MEASURES, first, digits=4))
    levels = ledger.levels("sensitivity")
    first = {"level": [level for level, _ in levels], "": [name for _, name in levels]}
    lines += _section("Sensitivity", _grid(ledger, "sensitivity", levels, _SENSITIVITY, first))
    return "\n".join(lines) + "\n"


def _summary(result: AuditResult) -> str:
    facts = result.facts
    words = [
        f"{facts['problems']} problems, {facts['rollouts']} rollouts ({facts['rollouts_right']} right, "
        f"{facts['rollouts_truncated']} truncated); {facts['problems_decided']} problems have right and wrong ones. "
        f"Variants are compared on the {facts['rollouts_compared']} rollouts for which all have references."
    ]
    if "rollouts_not_parsed" in facts:
        words.append(
            f"Of all rollouts {facts['rollouts_not_parsed']} do not parse and {facts['rollouts_right_by_luck']} are "
            "right after a wrong step; both are left out of the labelled part, which leaves "
            f"{facts['rollouts_labelled_and_compared']}."
        )
    if "mc_steps" in facts:
        words.append(
            f"Monte-Carlo: {facts['mc_steps']} steps of {facts['mc_rollouts']} rollouts, K = "
            f"{facts['mc_continuations']}, standard error of a value change {facts['mc_standard_error']:.3f}."
        )
    return " ".join(words)


def _section(title: str, table: pd.DataFrame, meanings: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """A titled table, under what its columns mean; nothing where it has no rows."""
    if table.empty:
        return []
    explained = (
        " ".join(f"`{name}`: {meanings[name]}." for name in table.columns if name in meanings) if meanings else ""
    )
    return ["", f"## {title}", "", *([explained, ""] if explained else []), *markdown(table)]


def _variants(ledger: Ledger, part: Part, rows: Rows, measures: Sequence[str]) -> pd.DataFrame:
    """The rows that were measured, a level in brackets behind the variant's name."""
    measured = [(level, name) for level, name in rows if any(Cell(part, name, level, m) in ledger for m in measures)]
    names = [f"{name} ({level})" if level else name for level, name in measured]
    return _grid(ledger, part, measured, measures, {"": names})


def _grid(
    ledger: Ledger, part: Part, rows: Rows, measures: Iterable[str], first: Mapping[str, Sequence[str]], digits: int = 2
) -> pd.DataFrame:
    """The columns `first`, then each measure of each row as text."""
    texts = {
        measure: [shown(ledger[Cell(part, name, level, measure)], digits) for level, name in rows]
        for measure in measures
    }
    return pd.DataFrame({**first, **texts})


def _finite(value: object) -> object:
    """Numbers that are not finite become None: JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
