"""The folder's tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cepo.lab.compare.contrasts import Contrast, arm_contrasts, base_contrasts
from cepo.lab.compare.curves import accuracy_curves, answer_first_curves, evidence_curves, length_curves, sweep_curve
from cepo.lab.compare.figures import (
    accuracy_figure,
    difference_figure,
    distribution_figure,
    evidence_figure,
    save_figure,
    sweep_figure,
)
from cepo.lab.compare.plan import Plan
from cepo.lab.compare.results import Results
from cepo.lab.compare.tables import (
    AVERAGE,
    Table,
    accuracy_table,
    contrast_grid,
    cost_table,
    credit_table,
    csv_text,
    diagnostics_table,
    grid,
    markdown,
)
from cepo.lab.compare.words import in_words
from cepo.runs.folder import write_atomically

__all__ = ["write_report"]

Scores = Mapping[str, Mapping[str, float | None]]


def write_report(
    plan: Plan, results: Results, chosen: Mapping[str, str | None], scores: Scores, config: Path
) -> list[str]:
    """Write tables and figures into the experiment's folder; returns what to say: the sentences and the gaps."""
    against, over_base = arm_contrasts(results), base_contrasts(results)
    gaps = [f"{arm}, seed {seed} is missing: {why}" for (arm, seed), why in results.missing.items()]
    accuracy, cost, diagnostics = accuracy_table(results), cost_table(results), diagnostics_table(results)
    lines = [
        f"# {config.stem}",
        "",
        f"Held-out accuracy in percent: mean ± standard deviation over {len(results.seeds)} seeds, with the 95% "
        "interval of the mean. `base` is the untrained model, with its interval over problems.",
        "",
        *markdown(accuracy, interval=[AVERAGE]),
        "",
        *(f"- {gap}" for gap in gaps),
        "",
        "## Differences, in points",
        "",
        *contrast_grid([*against, *over_base]),
        "",
        "Paired by seed and problem. The verdict takes seeds and problems as drawn at random; Holm's correction is "
        "over the arms compared with the same other. See docs/comparison.md.",
        "",
        *(f"- {in_words(contrast)}" for contrast in [*against, *over_base]),
        "",
        *_chosen(plan, chosen, scores),
        *_provenance(plan, results),
    ]
    out = plan.out
    write_atomically(out / "table.md", "\n".join(lines) + "\n")
    write_atomically(out / "table.csv", csv_text(accuracy.long()))
    content = _content(plan, results, accuracy, against, over_base, chosen, scores, gaps, config)
    write_atomically(out / "table.json", json.dumps(content, indent=1) + "\n")
    _write_table(out / "cost", "Seconds per optimiser step, mean ± standard deviation over seeds", cost, digits=2)
    title = "Training completions (tokens, %) and held-out completions (%), mean ± standard deviation over seeds"
    _write_table(out / "diagnostics", title, diagnostics, digits=1)
    title = "How far credit went from GRPO's advantages, and where (%), mean ± standard deviation over seeds"
    _write_table(out / "credit", title, credit_table(results), digits=1)
    _write_figures(plan, results, accuracy, against)
    return [*(in_words(contrast) for contrast in against), *gaps, f"tables and figures are in {out}"]


def _content(
    plan: Plan,
    results: Results,
    accuracy: Table,
    against: list[Contrast],
    over_base: list[Contrast],
    chosen: Mapping[str, str | None],
    scores: Scores,
    gaps: list[str],
    config: Path,
) -> dict[str, Any]:
    return {
        "experiment": config.name,
        "command": f"cepo compare --config {config} --out {plan.out}",
        "seeds": list(results.seeds),
        "accuracy": accuracy.long(),
        "contrasts": [contrast.to_dict() for contrast in [*against, *over_base]],
        "words": [in_words(contrast) for contrast in [*against, *over_base]],
        "missing": gaps,
        "differs": list(plan.reasons),
        "chosen": dict(chosen),
        "selection": {arm: dict(values) for arm, values in scores.items()},
        "evaluate": asdict(plan.experiment.evaluate),
        "runs": {
            name: plan.run(arm, seed, chosen[arm]).hash for arm, seed in results.runs for name in [f"{arm}-seed{seed}"]
        },
        "versions": _versions(results),
    }


def _chosen(plan: Plan, chosen: Mapping[str, str | None], scores: Scores) -> list[str]:
    select = plan.experiment.select
    if select is None:
        return []
    rows = [
        [arm, chosen.get(arm) or "none", *("missing" if (s := given[v]) is None else f"{100 * s:.1f}" for v in given)]
        for arm, given in scores.items()
    ]
    header = ["", f"{select.field} chosen", *select.values]
    return [f"## Accuracy on {select.on}, by {select.field} (%)", "", *grid([header, *rows]), ""]


def _provenance(plan: Plan, results: Results) -> list[str]:
    """Why arms stand apart, and what the runs were made with."""
    lines = [f"- differs with a reason: {reason}" for reason in plan.reasons]
    for name, found in _versions(results).items():
        if len(found) > 1:
            lines.append(f"- the runs were not all made with one {name}: {', '.join(found)}")
    return ["## About these runs", "", *lines, ""] if lines else []


def _versions(results: Results) -> dict[str, list[str]]:
    """Package or machine -> every version that a run was made with."""
    names = dict.fromkeys(name for run in results.runs.values() for name in run.versions)
    return {name: sorted({str(run.versions.get(name)) for run in results.runs.values()}) for name in names}


def _write_table(stem: Path, title: str, table: Table, digits: int) -> None:
    text = "\n".join([f"{title}.", "", *markdown(table, digits=digits)])
    write_atomically(stem.with_suffix(".md"), text + "\n")
    write_atomically(stem.with_suffix(".csv"), csv_text(table.long()))


def _write_figures(plan: Plan, results: Results, accuracy: Table, against: list[Contrast]) -> None:
    """Every figure that has data; arms with missing runs are left out, and named under the axes."""
    out, baseline = plan.out, results.baseline
    absent = [arm for arm in results.arms if results.complete(arm) is None]
    note = f"mean and 95% interval over {len(results.seeds)} seeds"
    if absent:
        note += f"; missing: {', '.join(absent)}"
    if curves := accuracy_curves(results):
        save_figure(accuracy_figure(curves, baseline, f"{note}; {results.shown} problems"), curves, out / "accuracy")
    if differences := [record for contrast in against if (record := contrast.to_record())]:
        what = "seeds and problems" if len(results.seeds) > 1 else "problems"
        interval = f"{plan.experiment.evaluate.limit} problems, {len(results.seeds)} seeds; 95% interval over {what}"
        save_figure(difference_figure(differences, baseline, interval), differences, out / "difference")
    if curves := evidence_curves(results):
        save_figure(evidence_figure(curves, note), curves, out / "evidence")
    lengths, first = length_curves(results), answer_first_curves(results)
    if lengths:
        records = [{"what": "length", **record} for record in lengths]
        records += [{"what": "answer first", **record} for record in first]
        save_figure(distribution_figure(lengths, first, baseline, note), records, out / "distribution")
    for sweep in plan.experiment.sweep:
        curve = sweep_curve(results, sweep)
        row = accuracy.rows[baseline]
        cell = row[AVERAGE] if row is not None else None
        figure = sweep_figure(curve, sweep.field, (baseline, cell) if cell else None, note)
        save_figure(figure, curve, out / f"sweep_{sweep.field}")
