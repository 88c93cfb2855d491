"""Pictures of figure problems: panels of 64 x 64 pixels, three in a row, each one image token of the embedded model.

A panel has its letter at the top left, a drawing of its relation, and the angle that it gives at the bottom right.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from random import Random

from PIL import Image

from cepo.figures.problems import NAMES, Figure
from cepo.geometry.canvas import Canvas, Point
from cepo.geometry.glyphs import CELL

__all__ = ["LAYOUTS", "PANEL_CELLS", "PANEL_PIXELS", "SIDE_PANELS", "START", "panel", "panels", "picture", "png"]

PANEL_CELLS = 4
PANEL_PIXELS = PANEL_CELLS * CELL
SIDE_PANELS = 3
"""Panels along one side of a picture: 192 pixels."""
LAYOUTS = 16
"""Ways in which one panel is drawn."""
START = "start"
"""What the first panel shows: an angle of known size."""


def _ray(canvas: Canvas, corner: Point, degrees: float, length: float) -> None:
    end = (corner[0] + length * math.cos(math.radians(degrees)), corner[1] - length * math.sin(math.radians(degrees)))
    canvas.line(corner, end)


def _start(canvas: Canvas, rng: Random) -> None:
    turn = rng.uniform(30, 70)
    _ray(canvas, (1.2, 2.7), 0, 2.4)
    _ray(canvas, (1.2, 2.7), turn, 2.2)
    canvas.arc((1.2, 2.7), 0.9, 0, turn)


def _line(canvas: Canvas, rng: Random) -> None:
    turn = rng.uniform(40, 140)
    canvas.line((0.3, 2.6), (3.8, 2.6))
    _ray(canvas, (2.0, 2.6), turn, 1.8)
    canvas.arc((2.0, 2.6), 0.6, 0, turn)


def _corner(canvas: Canvas, rng: Random) -> None:
    canvas.line((1.3, 0.6), (1.3, 2.8), (3.7, 2.8))
    canvas.line((1.3, 2.4), (1.7, 2.4), (1.7, 2.8))
    _ray(canvas, (1.3, 2.8), rng.uniform(25, 65), 2.2)


def _turn(canvas: Canvas, rng: Random) -> None:
    first = rng.uniform(0, 90)
    _ray(canvas, (2.3, 1.7), first, 1.5)
    _ray(canvas, (2.3, 1.7), first + rng.uniform(60, 120), 1.4)
    canvas.arc((2.3, 1.7), 0.6)


def _circle(canvas: Canvas, rng: Random) -> None:
    lean = rng.uniform(-0.3, 0.3)
    canvas.arc((2.4, 1.6), 1.25)
    canvas.line((1.5, 2.45), (2.4 + lean, 0.4), (3.3, 2.45))
    canvas.line((1.5, 2.45), (2.4, 1.6), (3.3, 2.45))


def _triangle(canvas: Canvas, rng: Random) -> None:
    canvas.polygon((0.9, 2.8), (3.7, 2.8), (rng.uniform(1.6, 3.0), 0.5))


def _rays(canvas: Canvas, rng: Random) -> float:
    middle = rng.uniform(25, 40)
    for degrees in (0, middle, 2 * middle):
        _ray(canvas, (0.9, 2.8), degrees, 2.7)
    return middle


def _whole(canvas: Canvas, rng: Random) -> None:
    middle = _rays(canvas, rng)
    for radius in (1.7, 2.0):
        canvas.arc((0.9, 2.8), radius, 0, 2 * middle)


def _part(canvas: Canvas, rng: Random) -> None:
    middle = _rays(canvas, rng)
    for radius in (0.8, 1.1):
        canvas.arc((0.9, 2.8), radius, 0, middle)


_DRAWINGS: dict[str, Callable[[Canvas, Random], None]] = {
    START: _start,
    "line": _line,
    "corner": _corner,
    "turn": _turn,
    "circle": _circle,
    "triangle": _triangle,
    "whole": _whole,
    "part": _part,
}


@cache
def panel(name: str, kind: str, given: int, layout: int) -> Image.Image:
    """One panel, 8-bit grey; `given` 0: it gives no angle; `layout` is one of LAYOUTS ways to draw it."""
    rng = Random(f"{kind}/{layout}")
    canvas = Canvas(grid=PANEL_CELLS)
    canvas.label(name, 0.5, 0.5)
    _DRAWINGS[kind](canvas, rng)
    if given:
        canvas.label(str(given), PANEL_CELLS - len(str(given)) / 2, PANEL_CELLS - 0.5)
    return canvas.image()


def panels(figure: Figure) -> list[tuple[str, str, int]]:
    """Name, what is drawn, and given angle of each panel of a figure, in order."""
    rest = [(step.kind, step.given) for step in figure.steps]
    return [(name, *shown) for name, shown in zip(NAMES, [(START, figure.start), *rest], strict=False)]


def picture(figure: Figure, rng: Random) -> Image.Image:
    """All panels, row by row, 192 x 192 pixels in grey; `rng` chooses among the ways to draw each."""
    side = SIDE_PANELS * PANEL_PIXELS
    image = Image.new("L", (side, side), 255)
    for index, shown in enumerate(panels(figure)):
        row, column = divmod(index, SIDE_PANELS)
        image.paste(panel(*shown, rng.randrange(LAYOUTS)), (column * PANEL_PIXELS, row * PANEL_PIXELS))
    return image


def png(image: Image.Image) -> bytes:
    """PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
