"""Images of every form are stored encoded, and unusable ones are named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cepo.data.images import MAX_PIXELS, encode_image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "it is no image"),
        (b"hello", "it is no image"),
        (encoded(NOISE)[:-500], "it is damaged"),
        (encoded(NOISE, "JPEG")[:-500], "it is damaged"),
        (encoded(NOISE, "WEBP")[:-500], "it is damaged"),
        (header_only_png(10_000, 9_000), f"10000 x 9000 is more than {MAX_PIXELS:,} pixels: resize it"),
        (header_only_png(60_000, 60_000), "pixels: resize it"),
        (header_only_png(2010, 10), "more elongated than 200:1"),
        (encoded(Image.new("I;16", (4, 4))), "no 8-bit mode"),
    ],
)
def test_an_unusable_image_is_named(data: bytes, part: str) -> None:
    with pytest.raises(ValueError, match=f"image of {len(data)} bytes") as caught:
        encode_image(data, None)
    assert part in str(caught.value)


def test_zero_pixels_and_other_types_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image of"):
        encode_image(header_only_png(0, 5), None)
    for value in (3, {"bytes": None, "path": None}, {"url": "x"}):
        with pytest.raises(ValueError, match="an image is a PIL image, bytes, a path"):
            encode_image(value, None)
    with pytest.raises(ValueError, match="does not exist") as caught:
        encode_image("A" * 5000, tmp_path)  # base64 where a path was expected
    assert len(str(caught.value)) < 500


def test_an_image_may_come_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(NOISE))
    stored = str(tmp_path / "a.png")
    for value in ("a.png", stored, {"bytes": None, "path": "a.png"}):
        assert encode_image(value, tmp_path) == {"bytes": None, "path": stored}
    for value in (NOISE, encoded(NOISE), {"bytes": encoded(NOISE), "path": "gone.png"}):
        assert encode_image(value, tmp_path)["bytes"] == encoded(NOISE)


def test_a_transparent_image_is_laid_on_white() -> None:
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.putpixel((3, 3), (0, 0, 0, 255))
    data = encode_image(encoded(drawing), None)["bytes"]
    assert isinstance(data, bytes)
    shown = Image.open(io.BytesIO(data))
    assert shown.mode == "RGB"
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert shown.getpixel((3, 3)) == (0, 0, 0)
