"""The folder's tables and figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from cepo.lab.compare import curves, figures, tables
from cepo.lab.compare.contrasts import Contrast, arm_contrasts, base_contrasts, in_words
from cepo.lab.compare.plan import Plan
from cepo.lab.compare.results import Results, Selected
from cepo.lab.compare.tables import AVERAGE, Table
from cepo.lab.tables import csv_text, markdown, records
from cepo.runs.folder import write_atomically

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What a comparison says of its results; `config` is the experiment's file."""

    plan: Plan
    results: Results
    selected: Selected
    config: Path

    def write(self) -> list[str]:
        """Write tables and figures into the experiment's folder; returns what to say: the sentences and the gaps."""
        out, results = self.plan.out, self.results
        write_atomically(out / "table.md", self._markdown())
        write_atomically(out / "table.csv", csv_text(self.accuracy.long()))
        write_atomically(out / "table.json", json.dumps(self._content(), indent=1) + "\n")
        seconds = "Seconds per optimiser step, mean ± standard deviation over seeds"
        _write_table(out / "cost", seconds, tables.cost_table(results), digits=2)
        title = "Training completions (tokens, %) and held-out completions (%), mean ± standard deviation over seeds"
        _write_table(out / "diagnostics", title, tables.diagnostics_table(results), digits=1)
        title = "How far credit went from GRPO's advantages, and where (%), mean ± standard deviation over seeds"
        _write_table(out / "credit", title, tables.credit_table(results), digits=1)
        self._draw()
        return [*(in_words(contrast) for contrast in self.against), *self.gaps, f"tables and figures are in {out}"]

    @cached_property
    def accuracy(self) -> Table:
        return tables.accuracy_table(self.results)

    @cached_property
    def against(self) -> list[Contrast]:
        """Every arm against the baseline."""
        return arm_contrasts(self.results)

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Every arm against the baseline, then against the untrained model."""
        return [*self.against, *base_contrasts(self.results)]

    @cached_property
    def gaps(self) -> list[str]:
        return [f"{arm}, seed {seed} is missing: {why}" for (arm, seed), why in self.results.missing.items()]

    def _markdown(self) -> str:
        lines = [
            f"# {self.config.stem}",
            "",
            f"Held-out accuracy in percent: mean ± standard deviation over {len(self.results.seeds)} seeds, with the "
            "95% interval of the mean. `base` is the untrained model, with its interval over problems.",
            "",
            *markdown(self.accuracy.wide(interval=[AVERAGE])),
            "",
            *(f"- {gap}" for gap in self.gaps),
            "",
            "## Differences, in points",
            "",
            *markdown(tables.contrast_table(self.contrasts)),
            "",
            "Paired by seed and problem. The verdict takes seeds and problems as drawn at random; Holm's correction is "
            "over the arms compared with the same other. See docs/comparison.md.",
            "",
            *(f"- {in_words(contrast)}" for contrast in self.contrasts),
            "",
            *self._chosen(),
            *self._provenance(),
        ]
        return "\n".join(lines) + "\n"

    def _content(self) -> dict[str, object]:
        plan, chosen = self.plan, self.selected.chosen
        return {
            "experiment": self.config.name,
            "command": f"cepo compare --config {self.config} --out {plan.out}",
            "seeds": list(self.results.seeds),
            "accuracy": records(self.accuracy.long()),
            "contrasts": [contrast.to_dict() for contrast in self.contrasts],
            "words": [in_words(contrast) for contrast in self.contrasts],
            "missing": self.gaps,
            "differs": list(plan.reasons),
            "chosen": chosen,
            "selection": self.selected.scores,
            "evaluate": plan.experiment.evaluate.model_dump(),
            "runs": {f"{arm}-seed{seed}": plan.run(arm, seed, chosen[arm]).hash for arm, seed in self.results.runs},
            "versions": self._versions(),
        }

    def _chosen(self) -> list[str]:
        select = self.plan.experiment.select
        if select is None:
            return []
        rows = [
            {"": arm, f"{select.field} chosen": self.selected.chosen.get(arm) or "none"}
            | {value: tables.MISSING if score is None else f"{100 * score:.1f}" for value, score in given.items()}
            for arm, given in self.selected.scores.items()
        ]
        return [f"## Accuracy on {select.on}, by {select.field} (%)", "", *markdown(pd.DataFrame(rows)), ""]

    def _provenance(self) -> list[str]:
        """Why arms stand apart, and what the runs were made with."""
        lines = [f"- differs with a reason: {reason}" for reason in self.plan.reasons]
        for name, found in self._versions().items():
            if len(found) > 1:
                lines.append(f"- the runs were not all made with one {name}: {', '.join(found)}")
        return ["## About these runs", "", *lines, ""] if lines else []

    def _versions(self) -> dict[str, list[str]]:
        """Package or machine -> every version that a run was made with."""
        runs = self.results.runs.values()
        names = dict.fromkeys(name for run in runs for name in run.versions)
        return {name: sorted({str(run.versions.get(name)) for run in runs}) for name in names}

    def _draw(self) -> None:
        """Every figure that has data; arms with missing runs are left out, and named under the axes."""
        out, results, baseline = self.plan.out, self.results, self.results.baseline
        absent = [arm for arm in results.arms if results.complete(arm) is None]
        note = f"mean and 95% interval over {len(results.seeds)} seeds"
        note += f"; missing: {', '.join(absent)}" if absent else ""
        if not (data := curves.accuracy_curves(results)).empty:
            figure = figures.accuracy_figure(data, baseline, f"{note}; {results.shown} problems")
            figures.save_figure(figure, data, out / "accuracy")
        if not (data := curves.differences(self.against)).empty:
            what = "seeds and problems" if len(results.seeds) > 1 else "problems"
            size = f"{self.plan.experiment.evaluate.limit} problems, {len(results.seeds)} seeds"
            figure = figures.difference_figure(data, baseline, f"{size}; 95% interval over {what}")
            figures.save_figure(figure, data, out / "difference")
        if not (data := curves.evidence_curves(results)).empty:
            figures.save_figure(figures.evidence_figure(data, note), data, out / "evidence")
        lengths, first = curves.length_curves(results), curves.answer_first_curves(results)
        if not lengths.empty:
            figure = figures.distribution_figure(lengths, first, baseline, note)
            both = {"length": lengths, "answer first": first}
            kept = [frame.assign(what=what) for what, frame in both.items() if not frame.empty]
            data = pd.concat(kept, ignore_index=True).reindex(columns=["what", *lengths.columns])
            figures.save_figure(figure, data, out / "distribution")
        self._draw_sweeps(note)

    def _draw_sweeps(self, note: str) -> None:
        row = self.accuracy.rows[self.results.baseline]
        cell = row[AVERAGE] if row is not None else None
        for sweep in self.plan.experiment.sweep:
            data = curves.sweep_curve(self.results, sweep)
            beside = None if cell is None else (self.results.baseline, cell.estimate)
            figure = figures.sweep_figure(data, sweep.field, beside, note)
            figures.save_figure(figure, data, self.plan.out / f"sweep_{sweep.field}")


def _write_table(stem: Path, title: str, table: Table, digits: int) -> None:
    text = "\n".join([f"{title}.", "", *markdown(table.wide(digits=digits))])
    write_atomically(stem.with_suffix(".md"), text + "\n")
    write_atomically(stem.with_suffix(".csv"), csv_text(table.long()))
