"""Images as data sets hold them, checked while still encoded: no decoded image stays in memory.

Every image is read to its end once, because a truncated file would else stop a run hours later.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from cepo.errors import DataError

__all__ = ["MAX_ASPECT", "MAX_PIXELS", "encode_image"]

MAX_PIXELS = 89_478_485
"""Pixels of the largest image: Pillow's own bound against decompression bombs, 256 MiB as RGB."""

MAX_ASPECT = 200
"""Longer side over shorter side; Qwen's processors refuse more."""

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def encode_image(value: object, folder: Path | None) -> dict[str, bytes | str | None]:
    """`value` as `{"bytes", "path"}`, the stored form of `datasets.Image`, known to decode to 8-bit RGB.

    `value` is a PIL image, encoded bytes, a mapping with `bytes` or `path`, or a path; a relative path
    starts at `folder`. A file stays a file (`bytes` is None). A transparent image is laid on white: its
    hidden colour is often black, and black lines on it would vanish.

    Raises:
        DataError: missing file, not an image, corrupt, empty, too large, too elongated, or over 8 bits.
    """
    data, path = _located(value, folder)
    what = f"image {path!r}" if path else f"image of {len(data or b'')} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's hint at a large image; the bound below decides
            with Image.open(_stream(data, path)) as image:
                fault = _fault_of_header(image)
                if fault is None and not image.has_transparency_data:
                    _read_through(image)
                    return {"bytes": data, "path": path}
            if fault is None:
                return {"bytes": _on_white(data, path), "path": path}
    except Image.DecompressionBombError:
        fault = f"it has more than {2 * MAX_PIXELS:,} pixels: resize it to at most {MAX_PIXELS:,}"
    except UnidentifiedImageError:
        fault = "it is no image, or of a format that Pillow does not know"
    except Exception as error:  # Pillow's plug-ins raise whatever they like on broken bytes
        fault = f"it is damaged: {error}"
    raise DataError(f"{what}: {fault}")


def _located(value: object, folder: Path | None) -> tuple[bytes | None, str | None]:
    """The encoded bytes and the path; at least one of the two, the path of a file that exists."""
    if isinstance(value, Image.Image):
        return _png(value), None
    if isinstance(value, bytes):
        return value, None
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data is not None:
            return data, path
        value = path
    if not isinstance(value, str | Path):
        raise DataError(f"an image is a PIL image, bytes, a path or {{bytes, path}}, got {value!r:.80}")
    path = (folder or Path()) / Path(value).expanduser()
    if not _is_file(path):
        raise DataError(
            f"image file {str(path)[:200]!r} does not exist; relative paths start at {folder or Path.cwd()}, "
            "or at `image_root` where it is given"
        )
    return None, str(path.absolute())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long: text or base64 where a path was expected
        return False


def _stream(data: bytes | None, path: str | None) -> io.BytesIO | str:
    return io.BytesIO(data) if data is not None else str(path)


def _fault_of_header(image: Image.Image) -> str | None:
    width, height = image.size
    if min(width, height) < 1:
        return f"it has no pixels ({width} x {height})"
    if width * height > MAX_PIXELS:
        return f"{width} x {height} is more than {MAX_PIXELS:,} pixels: resize it"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"{width} x {height} is more elongated than {MAX_ASPECT}:1: crop or pad it"
    if image.mode in _DEEP_MODES:
        return f"its mode {image.mode!r} is no 8-bit mode and would be cut off at 255: convert it"
    return None


def _read_through(image: Image.Image) -> None:
    """Raise if the file ends early or is damaged."""
    if image.format == "PNG":
        image.verify()  # its checksums, in a tenth of the time that decoding takes
    else:
        image.draft("RGB", (1, 1))  # JPEG: read all of it, at an eighth of the resolution
        image.load()


def _on_white(data: bytes | None, path: str | None) -> bytes:
    with Image.open(_stream(data, path)) as image:
        layer = ImageOps.exif_transpose(image).convert("RGBA")
    return _png(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
