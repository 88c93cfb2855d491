"""A small white canvas for diagrams: lines, circles and labels that sit on a grid of 16-pixel cells.

Coordinates are in cells, x to the right and y downwards, from (0, 0) to (grid, grid). A canvas may be
mirrored left to right: points are reflected, text is not.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from cepo.geometry.glyphs import CELL, GLYPHS, LETTERS

__all__ = ["GRID", "SIDE", "Canvas", "Point"]

GRID = 8
SIDE = GRID * CELL
"""Pixels along one side of a diagram: 128, that is 64 patches of 16 pixels."""

Point = tuple[float, float]
_SCALE = 4  # lines are drawn four times too large and averaged down: smooth, and equal on every machine
_INK = 70
_TEXT_INK = 0


@dataclass
class Canvas:
    """Collects strokes and labels, then renders them; labels are drawn last and blank their own cells."""

    mirrored: bool = False
    grid: int = GRID
    cells: dict[tuple[int, int], str] = field(default_factory=dict)
    _strokes: list[tuple[tuple[Point, ...], float]] = field(default_factory=list)

    def _place(self, point: Point) -> Point:
        x, y = point
        return (self.grid - x, y) if self.mirrored else (x, y)

    def line(self, *points: Point, width: float = 1.5) -> None:
        """Draw a polyline through `points`; `width` in pixels."""
        self._strokes.append((tuple(self._place(point) for point in points), width))

    def polygon(self, *points: Point) -> None:
        """Draw a closed polygon."""
        self.line(*points, points[0])

    def arc(self, centre: Point, radius: float, start: float = 0.0, stop: float = 360.0) -> None:
        """Draw a circular arc; angles in degrees, counter-clockwise as seen, radius in cells."""
        count = max(8, int(abs(stop - start) / 6))
        angles = (math.radians(start + (stop - start) * i / count) for i in range(count + 1))
        self.line(*((centre[0] + radius * math.cos(a), centre[1] - radius * math.sin(a)) for a in angles))

    def dashed(self, start: Point, stop: Point) -> None:
        """Draw a dashed segment with dashes of about a third of a cell."""
        count = max(2, int(math.dist(start, stop) / 0.6))
        for i in range(count):
            self.line(_between(start, stop, i / count), _between(start, stop, (i + 0.55) / count))

    def tick(self, start: Point, stop: Point) -> None:
        """Draw a short mark across the middle of a segment: sides with a mark are equal."""
        length = math.dist(start, stop)
        across = ((stop[1] - start[1]) / length * 0.22, -(stop[0] - start[0]) / length * 0.22)
        x, y = _between(start, stop, 0.5)
        self.line((x - across[0], y - across[1]), (x + across[0], y + across[1]), width=2.0)

    def label(self, text: str, x: float, y: float) -> None:
        """Write `text` centred near (x, y), snapped to whole cells and kept inside the canvas.

        Raises:
            ValueError: two labels would share a cell (a bug of the family that draws).
        """
        x, y = self._place((x, y))
        row = min(max(round(y - 0.5), 0), self.grid - 1)
        column = min(max(round(x - len(text) / 2), 0), self.grid - len(text))
        for offset, char in enumerate(text):
            cell = (row, column + offset)
            if cell in self.cells:
                raise ValueError(f"label {text!r} overlaps {self.cells[cell]!r} at cell {cell}")
            self.cells[cell] = char

    def image(self) -> Image.Image:
        """Render to an 8-bit grey image of grid x grid cells: SIDE x SIDE pixels by default."""
        side = self.grid * CELL * _SCALE
        large = Image.new("L", (side, side), 255)
        draw = ImageDraw.Draw(large)
        unit = CELL * _SCALE
        for points, width in self._strokes:
            scaled = [(round(x * unit), round(y * unit)) for x, y in points]
            draw.line(scaled, fill=_INK, width=round(width * _SCALE), joint="curve")
        image = large.reduce(_SCALE)
        for (row, column), char in self.cells.items():
            image.paste(_glyph(char), (column * CELL, row * CELL))
        return image

    def png(self) -> bytes:
        """Render to PNG bytes."""
        buffer = io.BytesIO()
        self.image().save(buffer, format="PNG")
        return buffer.getvalue()


def _between(start: Point, stop: Point, share: float) -> Point:
    return (start[0] + (stop[0] - start[0]) * share, start[1] + (stop[1] - start[1]) * share)


def _glyph(char: str) -> Image.Image:
    cell = Image.new("L", (CELL, CELL), 255)
    for y, row in enumerate(GLYPHS.get(char) or LETTERS[char]):
        for x, ink in enumerate(row):
            if ink:
                cell.paste(_TEXT_INK, (3 + 2 * x, 1 + 2 * y, 5 + 2 * x, 3 + 2 * y))
    return cell
