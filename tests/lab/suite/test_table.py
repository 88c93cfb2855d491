"""The table: averages in code, intervals from counts, published rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cepo.errors import RecordError
from cepo.lab.suite.parse import Measured
from cepo.lab.suite.run import Outcome
from cepo.lab.suite.table import Cell, make_table, read_published, save_table, to_markdown
from cepo.lab.suite.tasks import GEOMETRY, PAPER
from cepo.stats import wilson_interval

ROWS = {"DynaMath": 5010, "LogicVista": 448, "MathVision-mini": 304, "MMMU": 900, "WeMath": 1740}


def outcomes(*percents: float | None, model: str = "ours") -> list[Outcome]:
    return [
        Outcome(
            model, b, None if p is None else Measured(p, ROWS[b.name], ROWS[b.name]), "broke" if p is None else None
        )
        for b, p in zip(PAPER.benchmarks, percents, strict=True)
    ]


def row_of(cells: list[Cell], name: str) -> list[Cell]:
    """The cells of one row, its average last."""
    return [cell for cell in cells if cell.row == name]


def test_average_and_intervals() -> None:
    *cells, average = row_of(make_table(PAPER, outcomes(30.0, 40.0, 25.0, 50.0, 65.0)), "ours")
    assert average.percent == pytest.approx(42.0)
    logic = wilson_interval(179, 448)
    assert cells[1][3:6] == pytest.approx((40.0, 100 * logic.bounds[0], 100 * logic.bounds[1]))
    # Ten variants of one question are one problem: the interval is that of 501, not of 5,010.
    dyna, wemath = wilson_interval(150, 501), wilson_interval(341, 525)
    assert cells[0].low == pytest.approx(100 * dyna.bounds[0])
    assert cells[4].high == pytest.approx(100 * wemath.bounds[1])
    halves = [(cell.high - cell.low) / 2 for cell in cells]
    expected = sum(half**2 for half in halves) ** 0.5 / 5
    assert average.high - average.percent == pytest.approx(expected)


def test_no_average_without_all_five() -> None:
    table = make_table(PAPER, [*outcomes(30.0, None, 25.0, 50.0, 65.0, model="a"), *outcomes(1, 2, 3, 4, 5, model="b")])
    assert row_of(table, "a")[-1].percent is None
    assert row_of(table, "b")[-1].percent == pytest.approx(3.0)
    text = to_markdown(table)
    assert "| a | 30.00 [" in text
    assert "- (1) a, LogicVista: failed: broke" in text
    assert "- (2) a, Average: a benchmark is missing" in text


def test_part_of_a_benchmark_is_said() -> None:
    (benchmark,) = GEOMETRY.benchmarks
    text = to_markdown(make_table(GEOMETRY, [Outcome("m", benchmark, Measured(50.0, 4, 500))]))
    assert "the first 4 of 500 rows only" in text
    assert text.splitlines()[0] == "|  | Geometry |"  # no average of one
    assert text.splitlines()[2] == "| m | 50.00 [15.00, 85.00] (1) |"


def test_published_averages_without_cells() -> None:
    table = make_table(PAPER, outcomes(1, 2, 3, 4, 5))
    *cells, average = row_of(table, "CEPO 2B")
    assert average.percent == 43.43
    assert [cell.percent for cell in cells] == [None] * 5
    assert "40.05" in (row_of(table, "RLSD 2B")[-1].note or "")
    assert "| CEPO 2B (published) | – | – | – | – | – | 43.43 |" in to_markdown(table)


def test_published_file(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text("row,DynaMath,LogicVista,MathVision-mini,MMMU,WeMath,Average\nX,10,20,30,40,50,29\nY,1,1,1,1,1,1\n")
    cells = read_published(file, PAPER)
    assert [cell.percent for cell in row_of(cells, "X")] == [10.0, 20.0, 30.0, 40.0, 50.0, 30.0]
    assert row_of(cells, "X")[-1].note == "29.00 is printed; the average of the cells is shown"
    assert row_of(cells, "Y")[-1].note is None
    assert make_table(PAPER, [], cells) == cells
    file.write_text("row,DynaMath\nX,10\n")
    with pytest.raises(RecordError, match="lacks the columns LogicVista, MathVision-mini, MMMU, WeMath"):
        read_published(file, PAPER)
    file.write_text("row,DynaMath,LogicVista,MathVision-mini,MMMU,WeMath\nX,10,20,30,40,many\n")
    with pytest.raises(RecordError, match=r"line 2, WeMath: expected a percentage .* got 'many'"):
        read_published(file, PAPER)


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    table = make_table(PAPER, outcomes(30.0, None, 25.0, 50.0, 65.0))
    save_table(table, tmp_path)
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    content = [Cell(**record) for record in json.loads((tmp_path / "table.json").read_text())]
    assert content == table
    assert lines == [{name: "" if v is None else str(v) for name, v in cell._asdict().items()} for cell in table]
    assert (tmp_path / "table.md").read_text() == to_markdown(table)
