"""A 5x7 bitmap font: the same pixels on every machine, whatever FreeType is installed.

Only the characters that a diagram's labels need. Each glyph is drawn at twice its size in the middle of
one 16-pixel cell, so that a vision transformer with 16-pixel patches sees one whole character per patch.
"""

from __future__ import annotations

__all__ = ["CELL", "GLYPHS", "LETTERS"]

CELL = 16
"""Pixels along one side of a label cell."""

_ROWS: dict[str, str] = {
    "0": ".###. #...# #..## #.#.# ##..# #...# .###.",
    "1": "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "3": "##### ...#. ..#.. ...#. ....# #...# .###.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": "..##. .#... #.... ####. #...# #...# .###.",
    "7": "##### ....# ...#. ..#.. .#... .#... .#...",
    "8": ".###. #...# #...# .###. #...# #...# .###.",
    "9": ".###. #...# #...# .#### ....# ...#. .##..",
    "+": "..... ..#.. ..#.. ##### ..#.. ..#.. .....",
    "-": "..... ..... ..... ##### ..... ..... .....",
    "x": "..... ..... #...# .#.#. ..#.. .#.#. #...#",
    "?": ".###. #...# ....# ...#. ..#.. ..... ..#..",
}
_LETTER_ROWS: dict[str, str] = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "B": "####. #...# #...# ####. #...# #...# ####.",
    "C": ".###. #...# #.... #.... #.... #...# .###.",
    "D": "####. #...# #...# #...# #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "G": ".###. #...# #.... #.### #...# #...# .###.",
}

Glyph = tuple[tuple[bool, ...], ...]


def _glyphs(rows_of: dict[str, str]) -> dict[str, Glyph]:
    return {char: tuple(tuple(pixel == "#" for pixel in row) for row in rows.split()) for char, rows in rows_of.items()}


GLYPHS = _glyphs(_ROWS)
"""Character -> 7 rows of 5 pixels, True where ink is."""
LETTERS = _glyphs(_LETTER_ROWS)
"""The same for names of panels (`cepo.figures`)."""
