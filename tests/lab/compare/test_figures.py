"""Figures: what is drawn, and that files come out whole and alike."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from cepo.lab.compare.arms import Sweep
from cepo.lab.compare.contrasts import arm_contrasts
from cepo.lab.compare.curves import (
    accuracy_curves,
    answer_first_curves,
    differences,
    evidence_curves,
    length_curves,
    sweep_curve,
)
from cepo.lab.compare.figures import (
    accuracy_figure,
    difference_figure,
    distribution_figure,
    evidence_figure,
    save_figure,
    sweep_figure,
)
from cepo.lab.compare.tables import over_seeds
from tests.lab.compare.conftest import made_results

SHARES = {"credit/tokens_positive": 0.5, "credit/tokens_negative": 0.25, "credit/tokens_zero": 0.25}
METRICS = {
    "grpo": [{"step": 1, "completions/mean_length": 30.0}],
    "cepo": [{"step": 1, "completions/mean_length": 31.0, **SHARES}, {"step": 2, **SHARES}],
}
RESULTS = made_results(
    {"grpo": [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], "cepo": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], "rlsd": [[1.0] * 3, None]},
    base=[0.0, 0.5, 1.0],
    metrics=METRICS,
)


def test_accuracy_against_steps_is_of_the_problems_that_all_checkpoints_share() -> None:
    """The first two problems: base 1/4, then 1/2, then (1/2, 1) for grpo and (1, 1) for cepo; rlsd has a gap."""
    curves = accuracy_curves(RESULTS)
    assert list(curves[["arm", "step", "mean"]].itertuples(index=False, name=None)) == [
        ("grpo", 0, 0.25), ("grpo", 1, 0.5), ("grpo", 2, 0.75),
        ("cepo", 0, 0.25), ("cepo", 1, 0.5), ("cepo", 2, 1.0),
    ]  # fmt: skip
    assert curves["high"][2] == pytest.approx(0.75 + 12.7062 * 0.25, rel=1e-4)
    assert curves["values"][2] == "0.5 1"


def test_evidence_and_length_are_the_logged_ones() -> None:
    evidence = evidence_curves(RESULTS)
    assert set(evidence["arm"]) == {"cepo"}
    zero = evidence[evidence["kind"] == "zero"]
    assert list(zip(zero["step"], zero["mean"], strict=True)) == [(1, 0.25), (2, 0.25)]
    lengths = length_curves(RESULTS)
    assert list(lengths.columns) == ["arm", "step", "mean", "low", "high", "values"]
    assert list(zip(lengths["arm"], lengths["mean"], strict=True)) == [("grpo", 30.0), ("cepo", 31.0)]
    assert list(answer_first_curves(RESULTS)["mean"]) == [0.25] * 6


def test_a_step_that_one_seed_lacks_is_left_out() -> None:
    logged = ([1, 2], [2])
    runs = {
        ("grpo", seed): replace(
            RESULTS.runs["grpo", seed], metrics=[{"step": s, "completions/mean_length": 30.0 + seed} for s in steps]
        )
        for seed, steps in enumerate(logged)
    }
    curves = length_curves(replace(RESULTS, runs=runs))
    assert list(zip(curves["step"], curves["mean"], strict=True)) == [(2, 30.5)]


def test_a_sweep_keeps_its_gaps() -> None:
    sweep = Sweep(field="credit_clip", values=("0.1", "0.5"), arm={"method": "cepo"})
    results = made_results({"grpo": [[0.0]], "credit_clip=0.1": [[0.5]], "credit_clip=0.5": [None]})
    curve = sweep_curve(results, sweep)
    assert list(curve.columns) == ["arm", "credit_clip", "mean", "low", "high", "values"]
    assert list(zip(curve["credit_clip"], curve["values"], strict=True)) == [("0.1", "0.5"), ("0.5", "missing")]
    assert curve["mean"][0] == 0.5
    assert math.isnan(curve["mean"][1])


def test_files(tmp_path: Path) -> None:
    curves = accuracy_curves(RESULTS)
    evidence = evidence_curves(RESULTS)
    nan = math.nan
    points = [("x=1", "0.1", 0.4, 0.3, 0.5), ("x=1", "0.5", 0.6, nan, nan), ("x=1", "0.9", nan, nan, nan)]
    sweep = pd.DataFrame(points, columns=["arm", "x", "mean", "low", "high"])
    words = sweep.assign(x=["live", "ema", "frozen"])
    figures = {
        "accuracy": (accuracy_figure(curves, "grpo", "the note"), curves),
        "evidence": (evidence_figure(evidence, "the note"), evidence),
        "distribution": (
            distribution_figure(length_curves(RESULTS), answer_first_curves(RESULTS), "grpo", "n"),
            curves,
        ),
        "lengths": (distribution_figure(length_curves(RESULTS), pd.DataFrame(), "grpo", "n"), curves),
        "sweep": (sweep_figure(sweep, "x", ("grpo", over_seeds([0.4, 0.5]).estimate), "the note"), sweep),
        "words": (sweep_figure(words, "x", None, "the note"), words),
    }
    for name, (figure, frame) in figures.items():
        png, svg, data = save_figure(figure, frame, tmp_path / name)
        with Image.open(png) as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20, name
        text = "".join(ElementTree.parse(svg).getroot().itertext())
        assert "optimiser step" in text or "held-out accuracy (%)" in text
        assert len(list(csv.DictReader(data.open()))) == len(frame)
    svg = (tmp_path / "accuracy.svg").read_text()
    assert all(word in svg for word in ("grpo", "cepo", "the note", "held-out accuracy (%)"))
    save_figure(accuracy_figure(curves, "grpo", "the note"), curves, tmp_path / "again")
    assert (tmp_path / "again.svg").read_text() == svg
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "accuracy.png").read_bytes()


def test_arms_have_colours_of_their_own_and_the_baseline_is_black() -> None:
    names = ["grpo", "opsd", "sdpo", "rlsd", "cepo"]
    results = made_results({name: [[0.5, 0.5], [0.25, 0.5]] for name in names})
    (axes,) = accuracy_figure(accuracy_curves(results), "grpo", "").axes
    lines = {line.get_label(): line.get_color() for line in axes.get_lines()}
    assert list(lines) == names
    assert lines["grpo"] == "#000000"
    assert len(set(lines.values())) == 5
    low, high = axes.get_ylim()
    assert (low, high) == (-1.0, 101.0)  # the band of two seeds is wider than the scale


def test_differences_are_the_verdicts_and_open_where_none_is_shown() -> None:
    """Beside the baseline: one arm right on all of 20 problems that it has none of, one that trades one for another."""
    nothing, traded = [0.0] * 20, [1.0, *[0.0] * 19]
    results = made_results({"grpo": [traded, traded[::-1]], "best": [[1.0] * 20] * 2, "same": [traded[::-1], nothing]})
    found = differences(arm_contrasts(results))
    assert list(found.columns) == ["arm", "other", "mean", "low", "high", "p", "p_holm"]
    assert list(found[["arm", "other"]].itertuples(index=False, name=None)) == [("best", "grpo"), ("same", "grpo")]
    assert list(found["mean"]) == pytest.approx([0.95, -0.025])
    (axes,) = difference_figure(found, "held-out accuracy", "grpo", "the note").axes
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([95.0, -2.5])
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["best", "same"]


def test_an_arm_without_a_verdict_has_no_difference() -> None:
    assert list(differences(arm_contrasts(RESULTS))["arm"]) == ["cepo"]
