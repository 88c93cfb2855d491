"""Traces: the credit records of a run on disk, one JSON object per line.

A trace is a folder with `credit.jsonl` and `images/`. The first line is a header with the schema's version;
every other line is a record, or the one note that says that recording stopped. Text is ASCII with escapes, so that a
token that is half a character (a lone surrogate) survives. No torch, so that reports open anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from cepo._version import __version__
from cepo.errors import RecordError, SettingError
from cepo.reports.records import SCHEMA, CreditRecord, decode, encode

__all__ = ["SCHEMA", "TRACE_FILE", "CreditRecord", "TraceWriter", "read_traces"]

TRACE_FILE = "credit.jsonl"
_HEADER, _RECORD, _NOTE = "header", "record", "note"
_NOTE_BYTES = 300  # room kept for the note, which is shorter


class TraceWriter:
    """Appends the records of a run, step by step, and never stops a training run.

    A step is written whole or not at all, then flushed. When a step would take the folder over `max_bytes`
    a note is written and recording ends. When the disk refuses, recording ends with one warning.

    Args:
        folder: of the trace; made if need be.
        resume_step: records of later steps, left by a run that was killed, are dropped; the others are kept, and
            those of an older schema are written anew. 0 starts afresh: a trace that is already there is kept beside
            it as `credit.old.jsonl`, in place of an earlier one.
        max_bytes: bound on the file and the images together.
        decimals: of every number.

    Raises:
        SettingError: a bound too small for header and note.
        RecordError: a trace to resume that a newer cepo wrote.
    """

    def __init__(
        self, folder: str | Path, *, resume_step: int = 0, max_bytes: int = 256 * 2**20, decimals: int = 5
    ) -> None:
        if max_bytes < 2 * _NOTE_BYTES:
            raise SettingError(f"max_bytes must be at least {2 * _NOTE_BYTES}, got {max_bytes}")
        self.folder = Path(folder)
        self.path = self.folder / TRACE_FILE
        self.active = True
        self._max_bytes, self._decimals, self._used = max_bytes, decimals, 0
        self._names: dict[str, str] = {}
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            kept = self._kept(resume_step) if resume_step and self.path.is_file() else []
            if not resume_step and self.path.is_file():
                os.replace(self.path, self.path.with_name("credit.old.jsonl"))
            self._start([_line({"kind": _HEADER, "schema": SCHEMA, "cepo": __version__}), *kept])
        except OSError as error:
            self._give_up(error)

    def _kept(self, step: int) -> list[str]:
        """The lines of the records of at most `step`, in today's schema."""
        contents = _contents(self.path, lambda what: warnings.warn(f"{what}; left out", stacklevel=2))
        return [self._line_of(item) for item in contents if isinstance(item, CreditRecord) and item.step <= step]

    def _start(self, lines: list[str]) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(lines), encoding="ascii")
        os.replace(partial, self.path)  # a kill during the rewrite leaves the old file whole
        images = (file.stat().st_size for file in (self.folder / "images").iterdir())
        self._used = self.path.stat().st_size + sum(images)

    def write_step(self, records: Sequence[CreditRecord], images: Sequence[Image.Image | None] | None = None) -> None:
        """Append the records of one step.

        `images` are their problems' images: each is stored once, and its path becomes the record's `image`.
        A problem is known by its id and keeps the first image that it comes with.

        Raises:
            ValueError: not as many images as records.
        """
        if images is not None and len(images) != len(records):
            raise ValueError(f"{len(images)} images for {len(records)} records: pass one or None for each")
        if not self.active or not records:
            return
        records, pictures = (records, {}) if images is None else self._with_images(records, images)
        lines = [self._line_of(record) for record in records]
        try:
            self._append(lines, pictures, records[0].step)
        except OSError as error:
            self._give_up(error)

    def _with_images(
        self, records: Sequence[CreditRecord], images: Sequence[Image.Image | None]
    ) -> tuple[list[CreditRecord], dict[str, Image.Image]]:
        """Records that name their image's file, and the images by that name."""
        named, pictures = [], {}
        for record, image in zip(records, images, strict=True):
            name = None
            if image is not None:
                name = self._names.get(record.problem_id) or _image_name(image)
                self._names[record.problem_id] = name  # so that G rollouts cost one hash
                pictures[name] = image
            named.append(replace(record, image=name))
        return named, pictures

    def _line_of(self, record: CreditRecord) -> str:
        return _line({"kind": _RECORD, **encode(record, self._decimals)})

    def _append(self, lines: list[str], pictures: dict[str, Image.Image], step: int) -> None:
        new = {name: _png(image) for name, image in pictures.items() if not (self.folder / name).exists()}
        size = sum(map(len, lines)) + sum(map(len, new.values()))
        if self._used + size > self._max_bytes - _NOTE_BYTES:
            self.active = False
            text = f"recording stopped before step {step}: the bound of {self._max_bytes} bytes was reached"
            new, lines, size = {}, [_line({"kind": _NOTE, "text": text})], 0
        for name, data in new.items():
            (self.folder / name).write_bytes(data)
        with self.path.open("a", encoding="ascii") as file:
            file.write("".join(lines))
        self._used += size

    def _give_up(self, error: OSError) -> None:
        self.active = False
        warnings.warn(f"credit traces end here, {self.path} cannot be written: {error}", stacklevel=3)


def read_traces(path: str | Path, *, damaged: Callable[[str], None] | None = None) -> Iterator[CreditRecord]:
    """The records of a trace (its folder or its file), in the order of writing.

    Warns of a last line that a killed run left unfinished, which is skipped, and of a recording that stopped.

    Args:
        path: of the trace.
        damaged: takes the description of a damaged line, which is then skipped; None: such a line is an error.

    Raises:
        FileNotFoundError: no such trace.
        RecordError: not a trace, a trace of a newer cepo, or a damaged line.
    """
    file = Path(path) / TRACE_FILE if Path(path).is_dir() else Path(path)
    for content in _contents(file, damaged):
        if isinstance(content, CreditRecord):
            yield content
        else:
            warnings.warn(f"{file}: {content}", stacklevel=2)


def _contents(path: Path, damaged: Callable[[str], None] | None) -> Iterator[CreditRecord | str]:
    """The records of a trace, and the text of its note where recording stopped; the header is checked first."""
    schema = SCHEMA
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                schema = _schema(line, path)
                continue
            try:
                content = _object(line)
                if content["kind"] == _NOTE:
                    yield str(content.get("text"))
                elif content["kind"] == _RECORD:
                    yield decode(content, schema)
            except ValueError as error:
                if not line.endswith("\n"):
                    warnings.warn(f"{path}: the unfinished last line {number} is left out", stacklevel=3)
                    continue
                what = f"{path}, line {number} is damaged: {error}: {line.strip():.80}"
                if damaged is None:
                    raise RecordError(what) from None
                damaged(what)


def _object(line: str) -> Mapping[str, object]:
    content: object = json.loads(line)
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError("it is no object with a kind")
    return content


def _schema(line: str, path: Path) -> int:
    """The schema that the header names.

    Raises:
        RecordError: no header, or a schema that is newer than ours.
    """
    try:
        header = _object(line)
    except ValueError:
        header = {"kind": None}
    schema = header.get("schema")
    if header["kind"] != _HEADER or not isinstance(schema, int):
        raise RecordError(f"{path} is not a credit trace: its first line is not the header")
    if schema > SCHEMA:
        raise RecordError(
            f"{path} has schema {schema}, written by cepo {header.get('cepo')}; this is cepo {__version__}, which "
            f"reads schemas up to {SCHEMA}: upgrade cepo"
        )
    return schema


def _line(content: Mapping[str, object]) -> str:
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"


def _image_name(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
    return f"images/{digest[:16]}.png"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()
