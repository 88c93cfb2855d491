"""The folder's tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from cepo.lab.compare import curves, figures, tables
from cepo.lab.compare.calibration import Calibration, calibrate
from cepo.lab.compare.contrasts import Contrast, arm_contrasts, base_contrasts, in_words
from cepo.lab.compare.learning import area_lines, learning_table, steps_table
from cepo.lab.compare.plan import Plan
from cepo.lab.compare.races import Race, race_in_words, races
from cepo.lab.compare.results import Results
from cepo.lab.compare.tables import AVERAGE, Table
from cepo.lab.compare.tuning import Tuned
from cepo.lab.tables import csv_text, markdown, records
from cepo.runs.folder import write_atomically

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """What a comparison says of its results; `config` is the experiment's file."""

    plan: Plan
    results: Results
    tuned: Tuned
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
        return [*self.said, *self.gaps, f"tables and figures are in {out}"]

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
    def calibration(self) -> Calibration:
        return calibrate(self.results)

    @cached_property
    def races(self) -> list[Race]:
        return races(self.results, self.plan.experiment.target)

    @cached_property
    def said(self) -> list[str]:
        """What is said at the end: power first, then area, steps and final accuracy of every arm."""
        others = [race for race in self.races if race.arm != race.other]
        return [
            self.calibration.words,
            *self.tuned.at_an_end(),
            *(in_words(contrast) for contrast in self.calibration.against),
            *self.calibration.sources,
            *(race_in_words(race) for race in others),
            *(in_words(contrast) for contrast in self.against),
        ]

    @cached_property
    def gaps(self) -> list[str]:
        return [f"{arm}, seed {seed} is missing: {why}" for (arm, seed), why in self.results.missing.items()]

    def _markdown(self) -> str:
        lines = [
            f"# {self.config.stem}",
            "",
            f"**{self.calibration.words}**",
            "",
            f"Held-out accuracy in percent: mean ± standard deviation over {len(self.results.seeds)} seeds, with the "
            "95% interval of the mean. `base` is the untrained model, with its interval over problems.",
            "",
            *markdown(self.accuracy.wide(interval=[AVERAGE])),
            "",
            *(f"- {gap}" for gap in self.gaps),
            "",
            *self._learning(),
            "## Final accuracy: differences, in points",
            "",
            *markdown(tables.contrast_table(self.contrasts)),
            "",
            "Paired by seed and problem. The verdict takes seeds and problems as drawn at random; Holm's correction is "
            "over the arms of one role compared with the same other. See docs/comparison.md.",
            "",
            *(f"- {in_words(contrast)}" for contrast in self.contrasts),
            "",
            *self._tuned(),
            *self._provenance(),
        ]
        return "\n".join(lines) + "\n"

    def _content(self) -> dict[str, object]:
        plan, chosen, tune = self.plan, self.tuned.chosen, self.plan.experiment.tune
        return {
            "experiment": self.config.name,
            "command": f"cepo compare --config {self.config} --out {plan.out}",
            "seeds": list(self.results.seeds),
            "power": self.calibration.to_dict(),
            "area": area_lines(self.results),
            "steps": [race.to_dict() for race in self.races],
            "accuracy": records(self.accuracy.long()),
            "contrasts": [contrast.to_dict() for contrast in self.contrasts],
            "words": [*self.said, *(in_words(contrast) for contrast in self.contrasts if contrast.other == "base")],
            "missing": self.gaps,
            "differs": list(plan.reasons),
            "chosen": chosen,
            "tune": None if tune is None else tune.model_dump(),
            "tuning": self.tuned.scores,
            "evaluate": plan.experiment.evaluate.model_dump(),
            "runs": {f"{arm}-seed{seed}": plan.run(arm, seed, chosen[arm]).hash for arm, seed in self.results.runs},
            "versions": self._versions(),
        }

    def _learning(self) -> list[str]:
        results, found = self.results, self.calibration
        described = (
            "The mean of held-out accuracy over training, in percent, from the untrained model to the last step. "
            "Paired by seed and problem; the interval is over both, beside it over the seeds alone."
        )
        counted = (
            "Optimiser steps, mean over seeds, and their ratio to the baseline's at the same seed (geometric mean, 95% "
            "interval of the logarithm over seeds). A seed that is not there by its last step counts as that step, "
            "which bounds the mean (`>=`, `<=`), and there is no interval."
        )
        others = [race for race in self.races if race.arm != race.other]
        return [
            *("## Area under the accuracy curve", "", described, ""),
            *markdown(learning_table(results, found)),
            "",
            *(f"- {in_words(contrast)}" for contrast in found.against),
            *(f"- {sentence}" for sentence in found.sources),
            "",
            *("## Steps to an accuracy", "", counted, ""),
            *markdown(steps_table(results, self.races)),
            "",
            *(f"- {race_in_words(race)}" for race in others),
            "",
        ]

    def _tuned(self) -> list[str]:
        tune, found = self.plan.experiment.tune, self.tuned
        if tune is None:
            return []
        values = list(dict.fromkeys(value for scores in found.scores.values() for value in scores))
        rows = []
        for arm in self.results.arms:
            given = found.scores.get(arm, {})
            row = {"": arm, f"{tune.field} chosen": found.chosen.get(arm) or "none"}
            rows.append(row | {value: _score(given, value) for value in values})
        by = "Area" if tune.by == "area" else "Final accuracy"
        title = f"## {by} on {tune.on} at seeds {', '.join(map(str, tune.seeds))}, by {tune.field} (%)"
        said = "A control takes its method's value unless it has values of its own."
        return [title, "", *markdown(pd.DataFrame(rows)), "", said, "", *(f"- {one}" for one in found.at_an_end()), ""]

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
        self._draw_differences()
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

    def _draw_differences(self) -> None:
        """By final accuracy, and by the area under the curve."""
        seeds, limit = len(self.results.seeds), self.plan.experiment.evaluate.limit
        what = "seeds and problems" if seeds > 1 else "problems"
        for stem, measure, found, problems in (
            ("difference", "held-out accuracy", self.against, limit),
            ("area", "area under the accuracy curve", self.calibration.against, self.results.shown),
        ):
            if not (data := curves.differences(found)).empty:
                note = f"{problems} problems, {seeds} seeds; 95% interval over {what}"
                figure = figures.difference_figure(data, measure, self.results.baseline, note)
                figures.save_figure(figure, data, self.plan.out / stem)

    def _draw_sweeps(self, note: str) -> None:
        row = self.accuracy.rows[self.results.baseline]
        cell = row[AVERAGE] if row is not None else None
        for sweep in self.plan.experiment.sweep:
            data = curves.sweep_curve(self.results, sweep)
            beside = None if cell is None else (self.results.baseline, cell.estimate)
            figure = figures.sweep_figure(data, sweep.field, beside, note)
            figures.save_figure(figure, data, self.plan.out / f"sweep_{sweep.field}")


def _score(scores: Mapping[str, float | None], value: str) -> str:
    if value not in scores:
        return ""
    return tables.MISSING if (score := scores[value]) is None else f"{100 * score:.1f}"


def _write_table(stem: Path, title: str, table: Table, digits: int) -> None:
    text = "\n".join([f"{title}.", "", *markdown(table.wide(digits=digits))])
    write_atomically(stem.with_suffix(".md"), text + "\n")
    write_atomically(stem.with_suffix(".csv"), csv_text(table.long()))
