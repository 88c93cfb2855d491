"""A contact sheet of problems: diagram, question, worked solution, answer. To look at data before a run.

Decisive spans are blue and bold on a tint, so that they stand out on paper and to colour-blind eyes too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from cepo.glossary import Problem

__all__ = ["contact_sheet"]

_SIDE = 128  # of our diagrams, in pixels; an image fills a square of `scale` times this side
_PAD, _GAP, _MARGIN = 18, 20, 28
_TEXT, _SMALL = 15, 12
_LEADING = 1.45  # baseline to baseline, in font sizes
_MAX_LINES = 14
_PAPER, _CARD, _RULE = "#F2F4F7", "#FFFFFF", "#D5DAE1"
_INK, _FILLER, _FAINT = "#15191F", "#59616C", "#8A929E"
_DECISIVE, _TINT = "#005A94", "#DCECF7"


@dataclass(frozen=True, slots=True)
class _Run:
    """Text in one style."""

    text: str
    ink: str = _INK
    bold: bool = False
    tint: bool = False


@dataclass(frozen=True, slots=True)
class _Card:
    """What is shown of one problem."""

    title: str
    image: Image.Image | None
    question: str
    answer: str
    solution: tuple[_Run, ...]


_Line = list[_Run]


def contact_sheet(problems: Sequence[Problem | Mapping[str, Any]], columns: int = 3, scale: int = 2) -> Image.Image:
    """Draw problems, or rows of a loaded data set, as cards in a grid, read along the rows.

    A small image is enlarged by a whole factor without smoothing, so that each of its pixels can be seen; a
    large one is shrunk to fit. Of several images the first is shown. Text over 14 lines ends in an ellipsis.

    Args:
        problems: `Problem`s, or rows with `prompt`, `answer` and, where there are, `images`, `solution`,
            `family`, `id`.
        columns: cards side by side; fewer where there are fewer problems.
        scale: side of the square for an image, in units of 128 pixels.

    Raises:
        ValueError: nothing to show, or a number of columns or a scale below 1.
    """
    if not problems or columns < 1 or scale < 1:
        raise ValueError(
            f"need at least one problem, column and scale, got {len(problems)} problems, columns={columns}, "
            f"scale={scale}"
        )
    cards = [_of_problem(item) if isinstance(item, Problem) else _of_row(item) for item in problems]
    columns = min(columns, len(cards))
    side = _SIDE * scale
    drawn = [_draw(card, index, side) for index, card in enumerate(cards, start=1)]
    rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [max(card.height for card in row) for row in rows]
    legend = any(run.tint for card in cards for run in card.solution)
    width = columns * drawn[0].width + (columns - 1) * _GAP + 2 * _MARGIN
    height = sum(heights) + (len(rows) - 1) * _GAP + 2 * _MARGIN + (_MARGIN if legend else 0)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _MARGIN
    for row, tall in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            left = _MARGIN + column * (card.width + _GAP)
            box = (left, top, left + card.width - 1, top + tall - 1)
            draw.rounded_rectangle(box, radius=8, fill=_CARD, outline=_RULE)
            sheet.paste(card.crop((1, 8, card.width - 1, card.height - 8)), (left + 1, top + 8))
        top += tall + _GAP
    if legend:
        key = [
            _Run("decisive", _DECISIVE, bold=True, tint=True),
            _Run("  a value or a relation is chosen", _FILLER),
        ]
        _write(draw, key, _MARGIN, height - _MARGIN - _SMALL, _SMALL)
    return sheet


def _of_problem(problem: Problem) -> _Card:
    runs = (
        _Run(problem.solution[span.start : span.end], _DECISIVE, bold=True, tint=True)
        if span.decisive
        else _Run(problem.solution[span.start : span.end], _FILLER)
        for span in problem.spans
    )
    image = Image.open(io.BytesIO(problem.image_png))
    return _Card(_title(problem.family, problem.id), image, problem.question, problem.answer, tuple(runs))


def _of_row(row: Mapping[str, Any]) -> _Card:
    question = "\n".join(message["content"] for message in row["prompt"] if message["role"] == "user")
    solution = row.get("solution")
    images = row.get("images")
    return _Card(
        title=_title(row.get("family"), row.get("id")),
        image=images[0] if images else None,
        question=question,
        answer=row["answer"],
        solution=(_Run(solution, _FILLER),) if solution else (),
    )


def _title(family: str | None, identity: str | None) -> str:
    return family.replace("_", " ") if family else "/".join((identity or "").split("/")[-2:])


def _draw(card: _Card, number: int, side: int) -> Image.Image:
    """One card, as high as its content."""
    inner = side + 2 * _GAP
    title = _lines([_Run(card.title, bold=True)], inner - 40, _SMALL)[:1]
    question = _lines([_Run(card.question)], inner, _TEXT)
    solution = _lines(card.solution, inner, _TEXT)
    answer = _lines([_Run("Answer  ", _FAINT), _Run(card.answer, bold=True)], inner, _TEXT)
    blocks = [block for block in (question, solution, answer) if block]
    picture = side + _GAP if card.image is not None else 0
    text = sum(_height(block, _TEXT) + _GAP // 2 for block in blocks)
    height = 2 * _PAD + _height(title, _SMALL) + picture + text
    canvas = Image.new("RGB", (inner + 2 * _PAD, height), _CARD)
    draw = ImageDraw.Draw(canvas)
    label = _Run(str(number), _FAINT)
    _write(draw, [label], _PAD + inner - _length(label, _SMALL), _PAD, _SMALL)
    y = _write_block(draw, title, _PAD, _SMALL) + _GAP // 2
    if card.image is not None:
        fitted = _fitted(card.image, side)
        canvas.paste(fitted, ((canvas.width - fitted.width) // 2, y + (side - fitted.height) // 2))
        y += picture
    for block in blocks:
        y = _write_block(draw, block, y, _TEXT) + _GAP // 2
    return canvas


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """`image` in a square of `side`: enlarged by a whole factor, or shrunk."""
    factor = side // max(image.size)
    if factor >= 1:
        return image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    shrunk = image.convert("RGB")
    shrunk.thumbnail((side, side), Image.Resampling.LANCZOS)
    return shrunk


def _lines(runs: Iterable[_Run], width: int, size: int) -> list[_Line]:
    """Break text into lines of at most `width` pixels, between words where that is possible."""
    lines: list[_Line] = [[]]
    used = 0.0
    for word in _words(runs, width, size):
        length = sum(_length(run, size) for run in word)
        if word[0].text == "\n":
            lines.append([])
            used = 0.0
        elif used + length > width and word[0].text.isspace():
            continue
        else:
            if used and used + length > width:
                lines.append([])
                used = 0.0
            lines[-1].extend(word)
            used += length
    lines = [stripped for line in lines if (stripped := _stripped(line))]
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], [_Run("…", _FAINT)]]
    return lines


def _stripped(line: _Line) -> _Line:
    end = max((index for index, run in enumerate(line, start=1) if not run.text.isspace()), default=0)
    return line[:end]


def _words(runs: Iterable[_Run], width: int, size: int) -> Iterator[_Line]:
    """Words (of several styles, maybe) and single white space characters, no word wider than `width`."""
    word: _Line = []
    for run in runs:
        for piece in re.findall(r"\s|\S+", run.text):
            if piece.isspace():
                yield from filter(None, [word])
                yield [replace(run, text="\n" if piece == "\n" else " ")]
                word = []
                continue
            for char in piece:
                if word and sum(_length(part, size) for part in word) + _length(run, size, char) > width:
                    yield word  # LaTeX without a space
                    word = []
                if word and replace(word[-1], text="") == replace(run, text=""):
                    word[-1] = replace(run, text=word[-1].text + char)
                else:
                    word.append(replace(run, text=char))
    yield from filter(None, [word])


def _write_block(draw: ImageDraw.ImageDraw, lines: Sequence[_Line], y: int, size: int) -> int:
    for index, line in enumerate(lines):
        _write(draw, line, _PAD, y + round(index * size * _LEADING), size)
    return y + _height(lines, size)


def _height(lines: Sequence[_Line], size: int) -> int:
    return round(len(lines) * size * _LEADING)


def _write(draw: ImageDraw.ImageDraw, line: _Line, x: float, y: int, size: int) -> None:
    """Write one line with its top left corner at (x, y)."""
    for run in line:
        length = _length(run, size)
        if run.tint:
            draw.rectangle((round(x), y, round(x + length) - 1, y + round(size * 1.3)), fill=_TINT)
        draw.text((x, y), run.text, fill=run.ink, font=_font(run.bold, size))
        x += length


def _length(run: _Run, size: int, text: str | None = None) -> float:
    return _font(run.bold, size).getlength(run.text if text is None else text)


@lru_cache
def _font(bold: bool, size: int) -> ImageFont.FreeTypeFont:
    """DejaVu as matplotlib ships it: the same letters on every machine, LaTeX and Greek included."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
