"""`cepo data preview`: problems as one HTML page, to look at the data before a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

from cepo.errors import DataError, SettingError
from cepo.glossary import Problem

__all__ = ["write_preview"]

WIDEST = 640
"""Pixels: a larger image is shrunk to this."""

SMALL = 256
"""Pixels: an image of at most this is enlarged without smoothing, so that each of its pixels can be seen."""


def write_preview(problems: Sequence[Problem | Mapping[str, object]], out: Path) -> None:
    """Write problems, or rows of a loaded data set, as cards: image, question, worked solution, answer.

    Decisive spans are marked. Of several images the first is shown.

    Args:
        problems: `Problem`s, or rows with `prompt`, `answer` and, where there are, `images`, `solution`, `family`,
            `id`.
        out: an .html file.

    Raises:
        DataError: nothing to show.
        SettingError: `out` is no .html file.
    """
    if not problems:
        raise DataError("there are no problems to show")
    if out.suffix != ".html":
        raise SettingError(f"a preview is an HTML page: give a name that ends with .html, not {out}")
    cards = [_of_problem(item) if isinstance(item, Problem) else _of_row(item) for item in problems]
    page = (files("cepo.reports") / "assets" / "preview.html").read_text("utf-8")
    text = page.replace("<!--CARDS-->", "\n".join(cards))
    out.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")


def _of_problem(problem: Problem) -> str:
    pieces = ((escape(problem.solution[span.start : span.end]), span.decisive) for span in problem.spans)
    solution = "".join(f"<mark>{piece}</mark>" if decisive else piece for piece, decisive in pieces)
    with Image.open(io.BytesIO(problem.image_png)) as image:
        return _card(problem.family, image, problem.question, solution, problem.answer)


def _of_row(row: Mapping[str, object]) -> str:
    images, messages = row.get("images"), row["prompt"]
    image = images[0] if isinstance(images, list) and images else None
    asked = (
        [message["content"] for message in messages if message["role"] == "user"] if isinstance(messages, list) else []
    )
    solution = escape(str(row.get("solution") or ""))
    title = str(row.get("family") or row.get("id") or "")
    return _card(title, image, "\n".join(map(str, asked)), solution, str(row["answer"]))


def _card(title: str, image: Image.Image | None, question: str, solution: str, answer: str) -> str:
    """One card; `solution` is HTML, everything else is text."""
    parts = [f"<figure>\n<figcaption>{escape(title.replace('_', ' '))}</figcaption>"]
    if image is not None:
        small = ' class="small"' if max(image.size) <= SMALL else ""
        parts.append(f'<img{small} src="{_data_uri(image)}" alt="the problem\'s image">')
    parts.append(f"<p>{escape(question)}</p>")
    if solution:
        parts.append(f'<p class="solution">{solution}</p>')
    parts.append(f"<p>Answer <b>{escape(answer)}</b></p>\n</figure>")
    return "\n".join(parts)


def _data_uri(image: Image.Image) -> str:
    shown, buffer = image.convert("RGB"), io.BytesIO()
    shown.thumbnail((WIDEST, WIDEST))
    shown.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
