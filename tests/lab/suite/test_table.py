"""The table: averages in code, intervals from counts, published rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cepo.lab.suite import make_table
from cepo.lab.suite.parse import Measured
from cepo.lab.suite.run import Outcome
from cepo.lab.suite.table import read_published
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


def test_average_and_intervals() -> None:
    row = make_table(PAPER, outcomes(30.0, 40.0, 25.0, 50.0, 65.0)).rows[0]
    assert row.average.percent == pytest.approx(42.0)
    logic = wilson_interval(179, 448)
    assert (row.cells[1].low, row.cells[1].high) == (pytest.approx(100 * logic.low), pytest.approx(100 * logic.high))
    # Ten variants of one question are one problem: the interval is that of 501, not of 5,010.
    dyna, wemath = wilson_interval(150, 501), wilson_interval(341, 525)
    assert row.cells[0].low == pytest.approx(100 * dyna.low)
    assert row.cells[4].high == pytest.approx(100 * wemath.high)
    halves = [(cell.high - cell.low) / 2 for cell in row.cells]
    expected = sum(half**2 for half in halves) ** 0.5 / 5
    assert row.average.high - row.average.percent == pytest.approx(expected)


def test_no_average_without_all_five() -> None:
    table = make_table(PAPER, [*outcomes(30.0, None, 25.0, 50.0, 65.0, model="a"), *outcomes(1, 2, 3, 4, 5, model="b")])
    a, b = table.rows[:2]
    assert a.average.percent is None
    assert b.average.percent == pytest.approx(3.0)
    text = table.to_markdown()
    assert "| a | 30.00 [" in text
    assert "(1) a, LogicVista: failed: broke" in text


def test_part_of_a_benchmark_is_said() -> None:
    (benchmark,) = GEOMETRY.benchmarks
    table = make_table(GEOMETRY, [Outcome("m", benchmark, Measured(50.0, 4, 500))])
    assert "the first 4 of 500 rows only" in table.to_markdown()
    assert table.to_markdown().splitlines()[0] == "|  | Geometry |"  # no average of one


def test_published_averages_without_cells() -> None:
    table = make_table(PAPER, outcomes(1, 2, 3, 4, 5))
    published = {row.name: row for row in table.rows if row.published}
    assert published["CEPO 2B"].average.percent == 43.43
    assert all(cell.percent is None for cell in published["CEPO 2B"].cells)
    assert "40.05" in (published["RLSD 2B"].average.note or "")


def test_published_file(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text("row,DynaMath,LogicVista,MathVision-mini,MMMU,WeMath,Average\nX,10,20,30,40,50,29\nY,1,1,1,1,1,1\n")
    x, y = read_published(file, PAPER)
    assert (x.average.percent, x.average.note) == (30.0, "29.00 is printed; the average of the cells is shown")
    assert y.average.note is None
    assert make_table(PAPER, [], [x, y]).rows == (x, y)
    file.write_text("row,DynaMath\nX,10\n")
    with pytest.raises(ValueError, match="lacks the columns LogicVista, MathVision-mini, MMMU, WeMath"):
        read_published(file, PAPER)
    file.write_text("row,DynaMath,LogicVista,MathVision-mini,MMMU,WeMath\nX,10,20,30,40,many\n")
    with pytest.raises(ValueError, match=r"line 2, WeMath: expected a percentage .* got 'many'"):
        read_published(file, PAPER)


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    table = make_table(PAPER, outcomes(30.0, 40.0, 25.0, 50.0, 65.0))
    table.save(tmp_path)
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    content = json.loads((tmp_path / "table.json").read_text())
    assert [float(line["percent"]) for line in lines[:6]] == pytest.approx([30, 40, 25, 50, 65, 42])
    assert content["rows"][0]["average"]["percent"] == pytest.approx(42.0)
    assert (tmp_path / "table.md").read_text() == table.to_markdown()
