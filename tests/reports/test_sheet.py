"""The contact sheet shows every pixel of a diagram and every word of a problem."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cepo.data.datasets import DataSpec, load_data
from cepo.geometry import generate
from cepo.reports import sheet
from cepo.reports.sheet import contact_sheet

MINI = Path(__file__).parents[1] / "fixtures" / "geometry3k_mini"


def contains(picture: Image.Image, part: Image.Image) -> bool:
    """Whether `part` stands in `picture` pixel by pixel."""
    whole, small = (np.asarray(image.convert("L")) for image in (picture, part))
    windows = np.lib.stride_tricks.sliding_window_view(whole, small.shape)
    row = len(small) // 2
    candidates = np.argwhere((windows[:, :, row] == small[row]).all(-1))
    return any((windows[y, x] == small).all() for y, x in candidates)


def test_a_diagram_is_enlarged_without_smoothing() -> None:
    (problem,) = generate("train", 1)
    diagram = Image.open(io.BytesIO(problem.image_png))
    for scale in (1, 2):
        side = 128 * scale
        enlarged = diagram.resize((side, side), Image.Resampling.NEAREST)
        assert contains(contact_sheet([problem], scale=scale), enlarged)


def test_the_grid_has_the_columns_asked_for() -> None:
    problems = generate("train", 5)
    one, two, five = (contact_sheet(problems, columns=columns) for columns in (1, 2, 9))
    assert one.width < two.width < five.width
    assert one.height > two.height > five.height
    assert one.mode == "RGB"
    assert np.array_equal(np.asarray(two), np.asarray(contact_sheet(problems, columns=2)))


def test_decisive_spans_are_tinted_and_explained() -> None:
    tint = np.array([0xDC, 0xEC, 0xF7])

    def tinted(picture: Image.Image) -> int:
        return int((np.asarray(picture) == tint).all(-1).sum())

    with_spans = contact_sheet(generate("train", 1))
    rows = list(load_data(DataSpec("geometry", limit=1)))
    assert tinted(with_spans) > 500
    assert tinted(contact_sheet(rows)) == 0


def test_rows_of_any_data_set_are_drawn() -> None:
    rows = list(load_data(DataSpec(str(MINI))))
    assert contains(contact_sheet(rows), rows[5]["images"][0].resize((256, 256), Image.Resampling.NEAREST))
    text_only = {"prompt": [{"role": "user", "content": "1 + 1?"}], "answer": "2"}
    assert contact_sheet([text_only]).height < contact_sheet(rows[:1]).height
    large = {**text_only, "images": [Image.new("RGB", (3000, 30), "teal")]}
    assert contact_sheet([large]).width == contact_sheet(rows[:1]).width


def test_text_is_wrapped_within_the_card_and_cut_when_long() -> None:
    run = sheet._Run("aaa bb " * 30 + "\\frac{1}{2}" * 40 + "\n\tend")
    lines = sheet._lines([run], 200, 15)
    assert len(lines) == 14
    assert all(sum(sheet._length(part, 15) for part in line) <= 200 for line in lines)
    assert lines[-1][0].text == "…"
    mixed = [sheet._Run("x+1", bold=True), sheet._Run("=3. "), sheet._Run("end", bold=True)]
    (line,) = sheet._lines(mixed, 200, 15)
    assert "".join(part.text for part in line) == "x+1=3. end"


def test_nothing_to_draw_is_named() -> None:
    with pytest.raises(ValueError, match="got 0 problems, columns=3, scale=2"):
        contact_sheet([])
    with pytest.raises(ValueError, match="columns=0"):
        contact_sheet(generate("train", 1), columns=0)
