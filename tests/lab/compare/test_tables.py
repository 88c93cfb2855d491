"""Tables against numbers worked out by hand; what is missing says so."""

from __future__ import annotations

import csv
import io
import math

import pytest

from cepo.lab.compare.contrasts import Contrast
from cepo.lab.compare.tables import (
    AVERAGE,
    Cell,
    accuracy_table,
    contrast_table,
    cost_table,
    diagnostics_table,
    over_seeds,
)
from cepo.lab.tables import csv_text, markdown
from cepo.stats import Difference, Estimate
from tests.lab.compare.conftest import made_results

T1 = 12.7062047362
ARMS = {"grpo": [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], "cepo": [[1.0, 1.0, 1.0], None]}


def test_table_one_by_hand() -> None:
    """Family a: (1/2, 1), b: (1, 1), all: (2/3, 1); the base's interval is over problems."""
    table = accuracy_table(made_results(ARMS, base=[0.0, 1.0, 0.5], families="aab"))
    assert table.columns == ("a", "b", AVERAGE)
    grpo, base = table.rows["grpo"], table.rows["base"]
    assert grpo is not None
    assert base is not None
    a, b, average = (grpo[column] for column in table.columns)
    half = T1 * 0.25
    assert a is not None
    assert a.estimate == pytest.approx((0.75, 0.75 - half, 0.75 + half))
    assert (a.std, a.values) == (pytest.approx(math.sqrt(0.125)), (0.5, 1.0))
    assert b == Cell(Estimate(1.0, 1.0, 1.0), 0.0, (1.0, 1.0))
    assert average is not None
    assert average.values == pytest.approx((2 / 3, 1))
    whole = base[AVERAGE]
    assert whole is not None
    assert whole.estimate == pytest.approx((0.5, 0.5 - 4.30265 * 0.5 / math.sqrt(3), 1.7421), abs=1e-4)
    assert (whole.std, whole.values) == (None, (0.5,))
    assert base["b"] == Cell(Estimate(0.5), None, (0.5,))
    assert table.rows["cepo"] is None


def test_table_one_in_markdown_and_csv() -> None:
    table = accuracy_table(made_results(ARMS, base=[0.0, 1.0, 0.5], families="aab"))
    assert markdown(table.wide(interval=["b"])) == [
        "|  | a | b | average |",
        "|---|---|---|---|",
        "| base | 50.0 | 50.0 | 50.0 |",
        "| grpo | 75.0 ± 35.4 | 100.0 ± 0.0 [100.0, 100.0] | 83.3 ± 23.6 |",
        "| cepo | missing | missing | missing |",
    ]
    rows = list(csv.DictReader(io.StringIO(csv_text(table.long()))))
    assert len(rows) == 9
    found = {(row["row"], row["column"]): row for row in rows}
    assert found["grpo", "average"]["values"] == "0.666667 1"
    assert float(found["grpo", "average"]["mean"]) == pytest.approx(5 / 6)
    assert (found["cepo", "a"]["mean"], found["cepo", "a"]["values"]) == ("", "missing")


def test_one_seed_has_no_spread() -> None:
    assert over_seeds([0.5]) == Cell(Estimate(0.5), None, (0.5,))


def test_data_without_families_has_one_column() -> None:
    table = accuracy_table(made_results({"grpo": [[1.0, 0.0]]}))
    assert markdown(table.wide()) == ["|  | average |", "|---|---|", "| grpo | 50.0 |"]


def test_differences_in_points() -> None:
    seeds, problems, both = (Difference(0.012, low, 0.021, 0.011) for low in (0.001, 0.002, 0.003))
    contrasts = [Contrast("cepo", "grpo", seeds, problems, both, 0.022), Contrast("rlsd", "grpo", why_missing="x")]
    lines = markdown(contrast_table(contrasts))
    assert lines[2] == "| cepo - grpo | +1.2 | [+0.3, +2.1] | 0.011 | 0.022 | [+0.1, +2.1] | [+0.2, +2.1] |"
    assert lines[3] == "| rlsd - grpo | missing |  |  |  |  |  |"
    assert markdown(contrast_table([Contrast("cepo", "grpo", None, problems)]))[2].split(" | ")[2:4] == [
        "one seed",
        "0.011",
    ]


def test_cost_is_seconds_per_step_by_phase() -> None:
    def line(step: int, strength: float, credit: float) -> dict[str, float]:
        cpu = {"phase/generation_cpu_s": 2.0, "phase/credit_cpu_s": credit, "phase/update_cpu_s": 1.0}
        return {"step": step, "credit/lambda": strength, **cpu, "phase/update_s": 4.0}

    metrics = {"cepo": [line(1, 0.5, 0.4), line(2, 0.0, 0.0), {"step": 2, "train_loss": 0.0}]}
    table = cost_table(made_results({"grpo": [[1.0]], "cepo": [[1.0]], "rlsd": [None]}, metrics=metrics))
    cepo, grpo = table.rows["cepo"], table.rows["grpo"]
    assert cepo is not None
    assert grpo is not None
    means = {column: cell.estimate.mean for column, cell in cepo.items() if cell is not None}
    assert means == pytest.approx(
        {
            "generation CPU s": 2.0,
            "credit CPU s": 0.2,
            "update CPU s": 1.0,
            "total CPU s": 3.2,
            "update wall s": 4.0,
            "credit CPU s while lambda > 0": 0.4,
        }
    )
    assert set(grpo.values()) == {None}
    assert table.rows["rlsd"] is None
    text = markdown(table.wide(digits=2))
    assert "| grpo | n/a |" in text[2]
    assert "| rlsd | missing |" in text[4]


def test_diagnostics() -> None:
    metrics = {
        "grpo": [{"completions/mean_length": 30.0}, {"completions/mean_length": 40.0, "completions/clipped_ratio": 0.5}]
    }
    table = diagnostics_table(made_results({"grpo": [[1.0]], "opsd": [[1.0]]}, base=[0.0], metrics=metrics))
    assert markdown(table.wide())[2:] == [
        "| base | n/a | n/a | 50.0 | 0.0 | 25.0 | 12.5 |",
        "| grpo | 35.0 | 50.0 | 50.0 | 0.0 | 25.0 | 12.5 |",
        "| opsd | n/a | n/a | 50.0 | 0.0 | 25.0 | 12.5 |",
    ]
