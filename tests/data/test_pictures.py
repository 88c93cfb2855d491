"""Images given to the trainer as text: the same pixels, or one error with the row."""

from __future__ import annotations

import base64
import io
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from cepo.data.pictures import with_pictures
from cepo.errors import DataError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8))


def in_base64() -> str:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def given(kind: str, folder: Path) -> str:
    if kind == "path":
        PICTURE.save(folder / "a.png")
        return str(folder / "a.png")
    return in_base64() if kind == "base64" else f"data:image/png;base64,{in_base64()}"


@pytest.mark.parametrize("kind", ["path", "base64", "data"])
@pytest.mark.parametrize("column", ["images", "image"])
@pytest.mark.parametrize("streamed", [False, True])
def test_text_becomes_the_same_pixels(kind: str, column: str, streamed: bool, tmp_path: Path) -> None:
    text = given(kind, tmp_path)
    value: Any = [text, text] if column == "images" else text
    data: Any = Dataset.from_list([{"prompt": "?", column: value}])
    row = next(iter(with_pictures(data.to_iterable_dataset() if streamed else data)))
    for image in row[column] if column == "images" else [row[column]]:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(PICTURE))


def test_what_is_an_image_already_and_rows_without_one_stay() -> None:
    data = Dataset.from_list([{"prompt": "?", "images": [PICTURE]}, {"prompt": "!", "images": None}])
    assert with_pictures(data) is data
    assert with_pictures(None) is None
    sparse = Dataset.from_list([{"images": None}, {"images": [in_base64()]}])
    assert [len(row["images"] or []) for row in with_pictures(sparse)] == [0, 1]  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize(
    ("text", "words"), [("nowhere.png", "does not exist"), ("data:image/png;base64,AAAA", "no image")]
)
def test_a_text_that_is_no_image_is_named_with_its_row(text: str, words: str) -> None:
    data = Dataset.from_list([{"images": [in_base64()]}, {"images": [text]}])
    with pytest.raises(DataError, match=f"^row 1: .*{words}"):
        with_pictures(data)


def test_an_address_is_fetched_at_the_start(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        row = with_pictures(Dataset.from_list([{"image": f"{address}/a.png"}]))[0]
        with pytest.raises(DataError, match=r"^row 0: image 'http://.*/b\.png': it cannot be fetched"):
            with_pictures(Dataset.from_list([{"image": f"{address}/b.png"}]))
        server.shutdown()
    assert np.array_equal(np.asarray(row["image"]), np.asarray(PICTURE))
