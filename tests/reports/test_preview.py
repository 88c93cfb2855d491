"""The preview shows every problem with its image, its words and its decisive spans, and text stays text."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cepo.data.datasets import DataSpec, load_data
from cepo.errors import DataError, SettingError
from cepo.geometry import generate
from cepo.reports.preview import write_preview

MINI = Path(__file__).parents[1] / "fixtures" / "geometry3k_mini"


def cards(problems: list, tmp_path: Path) -> list[str]:
    write_preview(problems, tmp_path / "preview.html")
    return re.findall("<figure>.*?</figure>", (tmp_path / "preview.html").read_text(), re.S)


def picture(card: str) -> Image.Image:
    (data,) = re.findall('src="data:image/png;base64,([^"]+)"', card)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def words(card: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", card))


def test_a_problem_is_shown_whole(tmp_path: Path) -> None:
    problems = list(generate("train", 5))
    drawn = cards(problems, tmp_path)
    assert len(drawn) == 5
    for problem, card in zip(problems, drawn, strict=True):
        assert np.array_equal(picture(card), Image.open(io.BytesIO(problem.image_png)).convert("RGB"))
        for text in (problem.family.replace("_", " "), problem.question, problem.solution, f"Answer {problem.answer}"):
            assert text in words(card)
        decisive = [problem.solution[span.start : span.end] for span in problem.spans if span.decisive]
        assert [html.unescape(text) for text in re.findall("<mark>(.*?)</mark>", card)] == decisive != []


def test_rows_of_any_data_set_are_shown(tmp_path: Path) -> None:
    rows = list(load_data(DataSpec(str(MINI))))
    for row, card in zip(rows, cards(rows, tmp_path), strict=True):
        assert np.array_equal(picture(card), row["images"][0].convert("RGB"))
        assert f"Answer {row['answer']}" in words(card)
    text_only = {"prompt": [{"role": "system", "content": "no"}, {"role": "user", "content": "1 + 1?"}], "answer": "2"}
    large = {**text_only, "images": [Image.new("RGB", (3000, 30), "teal")], "solution": "1 + 1 = 2"}
    plain, wide = cards([text_only, large], tmp_path)
    assert "<img" not in plain
    assert 'class="small"' not in wide
    assert '<img class="small"' in cards(rows, tmp_path)[0]
    assert words(plain).split() == ["1", "+", "1?", "Answer", "2"]
    assert picture(wide).size == (640, 6)
    assert '<p class="solution">1 + 1 = 2</p>' in wide


def test_text_stays_text(tmp_path: Path) -> None:
    hostile = "</p><script>1</script>\ud800&lt;"
    prompt = [{"role": "user", "content": hostile}]
    (card,) = cards([{"prompt": prompt, "answer": hostile, "solution": hostile, "id": hostile}], tmp_path)
    assert "<script" not in card
    assert card.count("&lt;/p&gt;&lt;script&gt;") == 4
    assert words(card).count("</p><script>1</script>") == 4


def test_what_cannot_be_shown_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no problems to show"):
        write_preview([], tmp_path / "preview.html")
    with pytest.raises(SettingError, match=r"ends with \.html, not .*preview\.png"):
        write_preview(list(generate("train", 1)), tmp_path / "preview.png")
