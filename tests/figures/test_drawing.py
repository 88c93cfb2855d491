"""Pictures of figures: panels that can be told apart, and nothing in them but what the problem says."""

from __future__ import annotations

from itertools import combinations
from random import Random

import numpy as np
import pytest

from cepo.figures.drawing import LAYOUTS, PANEL_PIXELS, START, panel, panels, picture
from cepo.figures.problems import Figure
from cepo.figures.relations import KINDS
from cepo.geometry.glyphs import CELL, GLYPHS, LETTERS

FIGURE = Figure.parse("40>line>triangle:30")


def pixels(image) -> np.ndarray:  # type: ignore[no-untyped-def,type-arg]
    return np.asarray(image, dtype=float)


def test_a_picture_has_a_panel_for_each_angle() -> None:
    assert panels(FIGURE) == [("A", START, 40), ("B", "line", 0), ("C", "triangle", 30)]
    image = picture(FIGURE, Random(0))
    assert image.size == (3 * PANEL_PIXELS, 3 * PANEL_PIXELS)
    shown = pixels(image).reshape(3, PANEL_PIXELS, 3, PANEL_PIXELS).min(axis=(1, 3)).flatten()
    assert (shown < 255).tolist() == [True] * 3 + [False] * 6


def test_labels_are_whole_glyphs_in_their_cells() -> None:
    image = pixels(panel("C", "triangle", 30, 0))
    for (row, column), char in {(0, 0): "C", (3, 2): "3", (3, 3): "0"}.items():
        cell = image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        ink = np.array({**GLYPHS, **LETTERS}[char])
        assert (cell[1:15:2, 3:13:2] == 0).tolist() == ink.tolist()


@pytest.mark.parametrize("layout", [0, LAYOUTS - 1])
def test_relations_can_be_told_apart(layout: int) -> None:
    drawn = {kind: pixels(panel("B", kind, 0, layout)) for kind in KINDS}
    for one, other in combinations(drawn, 2):
        assert (drawn[one] != drawn[other]).sum() > 40, (one, other)


def test_the_same_problem_is_drawn_in_many_ways() -> None:
    assert len({picture(FIGURE, Random(seed)).tobytes() for seed in range(10)}) > 5
    assert picture(FIGURE, Random(1)).tobytes() == picture(FIGURE, Random(1)).tobytes()
