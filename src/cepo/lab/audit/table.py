"""The audit as one table: Markdown to read, CSV and JSON to compute with."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from cepo.lab.audit.labelled import MEASURES
from cepo.lab.audit.ledger import Cell, Ledger, Part
from cepo.lab.audit.measure import GRPO, SURPRISAL
from cepo.lab.audit.metrics import Measured
from cepo.lab.audit.montecarlo import MC_MEASURES
from cepo.lab.audit.null import NULL_MEASURES
from cepo.lab.audit.run import DEAD_ZONES, AuditResult

__all__ = ["as_csv", "as_json", "as_markdown", "shown"]

_LABELLED = (
    "auroc",
    "ap",
    "contrast",
    "saturation_filler",
    "sign_right",
    "mass_right",
    "sign_wrong",
    "mass_wrong",
    "sign_first_wrong",
    "blame_before",
    "error_focus",
    "coverage",
)
_AGREEMENT = ("spearman", "spearman_corrected", "spearman_within", "sign_agreement")
_LEVEL_COLUMNS = ("auroc", "contrast", "mass_right", "mass_wrong", "coverage", "spearman", "spearman_within")
_COVERAGE = "share of the rollouts of decided groups that get evidence; variants are compared on those all can give it"


def shown(measured: Measured, digits: int = 2) -> str:
    """`0.81 [0.78, 0.83]`; a dash where nothing was measured."""
    if measured.value is None:
        return "–"
    if measured.low is None or measured.high is None:
        return f"{measured.value:.{digits}f}"
    return f"{measured.value:.{digits}f} [{measured.low:.{digits}f}, {measured.high:.{digits}f}]"


def as_csv(ledger: Ledger) -> str:
    """One line per cell: part, variant, level, measure, value, low, high, problems."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "variant", "level", "measure", "value", "low", "high", "problems"])
    for cell, measured in ledger.cells():
        numbers = ["" if x is None else f"{x:.6g}" for x in (measured.value, measured.low, measured.high)]
        writer.writerow([cell.part, cell.variant, cell.level, cell.measure, *numbers, measured.problems])
    return out.getvalue()


def as_json(result: AuditResult, about: Mapping[str, Any], findings: Sequence[str]) -> str:
    """Everything: what was audited and how, the facts, the findings, the cells, and what each measure says."""
    content = {
        "about": about,
        "facts": result.facts,
        "notes": result.notes,
        "findings": findings,
        "measures": {**MEASURES, **MC_MEASURES, **NULL_MEASURES, "coverage": _COVERAGE},
        "cells": [asdict(cell) | asdict(measured) for cell, measured in result.ledger.cells()],
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def as_markdown(result: AuditResult, about: Mapping[str, Any], findings: Sequence[str]) -> str:
    """The findings in words, then the table, section by section; intervals are 95%, over problems."""
    ledger, names = result.ledger, [variant.name for variant in result.variants]
    lines = [f"# Audit of `{about['model']}` on `{about['data']}`", "", f"`{about['command']}`", ""]
    lines += [_summary(result), *(f"\nNote: {note}." for note in result.notes)]
    lines += ["", "## Findings", "", *(f"- {finding}" for finding in findings)]
    lines += _section(
        ledger, "sampled", "Sampled rollouts against labels", {"": [*names, SURPRISAL]}, _LABELLED, MEASURES
    )
    zones = {zone: names for zone in DEAD_ZONES}
    lines += _section(ledger, "sampled", "The same with a dead zone", zones, _LABELLED, {})
    lines += _section(ledger, "worked", "Worked solutions against labels", {"": names}, _LABELLED, {})
    agreement = {"": [*names, GRPO], **zones}
    lines += _section(ledger, "montecarlo", "Steps against Monte-Carlo values", agreement, _AGREEMENT, MC_MEASURES)
    if Cell("montecarlo", "", "", "reliability") in ledger:
        lines += ["", f"Reliability of the value changes: {shown(ledger[Cell('montecarlo', '', '', 'reliability')])}."]
    lines += _null_section(ledger)
    lines += _sensitivity_section(ledger)
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


def _section(
    ledger: Ledger,
    part: Part,
    title: str,
    levels: Mapping[str, Sequence[str]],
    measures: Sequence[str],
    meanings: Mapping[str, str],
) -> list[str]:
    rows = [
        [name + (f" ({level})" if level else ""), *(shown(ledger[Cell(part, name, level, m)]) for m in measures)]
        for level, names in levels.items()
        for name in names
        if any(Cell(part, name, level, measure) in ledger for measure in measures)
    ]
    if not rows:
        return []
    explained = [f"`{m}`: {meanings[m]}." for m in measures if m in meanings]
    return ["", f"## {title}", "", *([" ".join(explained), ""] if explained else []), *_grid(["", *measures], rows)]


def _null_section(ledger: Ledger) -> list[str]:
    kinds = dict.fromkeys((c.variant, c.level) for c, _ in ledger.cells() if c.part == "null")
    if not kinds:
        return []
    rows = [
        [asking, kind, *(shown(ledger[Cell("null", asking, kind, measure)], 4) for measure in NULL_MEASURES)]
        for asking, kind in kinds
    ]
    return ["", "## Irrelevant references (nats)", "", *_grid(["asked", "references", *NULL_MEASURES], rows)]


def _sensitivity_section(ledger: Ledger) -> list[str]:
    rows = dict.fromkeys((c.level, c.variant) for c, _ in ledger.cells() if c.part == "sensitivity")
    if not rows:
        return []
    body = [
        [level, name, *(shown(ledger[Cell("sensitivity", name, level, m)]) for m in _LEVEL_COLUMNS)]
        for level, name in rows
    ]
    return ["", "## Sensitivity", "", *_grid(["level", "", *_LEVEL_COLUMNS], body)]


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def _plain(value: Any) -> Any:
    """Numbers that are not finite become None: JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
